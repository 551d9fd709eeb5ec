"""ICE: its losses by loops, what a step moves, the teacher and its shuffled batches."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model

from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.modeling.grouped_batch_norm import group_batch_norms
from fastreid_ext.modeling.meta_arch.ice import cluster_means

from ...tiny_cfg import tiny_cfg

KEYS = {
    "UNSUPERVISED.ENABLED": True,
    "MODEL.META_ARCHITECTURE": "ICE",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.HEADS.NUM_CLASSES": 7,
    "MODEL.ICE.MOMENTUM": 0.9,
    "MODEL.LOSSES.NAME": ("ICELoss", "CameraProxyLoss"),
    "INPUT.VIEWS.RECIPE": "strong_weak",
    "DATALOADER.SAMPLER_TRAIN": "OnePerCameraSampler",
}
BASELINE_KEYS = {
    "MODEL.META_ARCHITECTURE": "Baseline",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
    **{key: value for key, value in KEYS.items() if key.startswith(("MODEL.BACK", "MODEL.HEADS"))},
}
AGNOSTIC = KEYS | {"MODEL.LOSSES.NAME": ("ICELoss",)}
TARGETS = torch.tensor([0, 0, 2, 2, 1, 1])
CAMERAS = torch.tensor([0, 3, 3, 3, 0, 3])
LABELS = torch.tensor([0, 1, -1, 1, 2, 0, 2, 0])
OF_ALL = torch.tensor([3, 0, 1, 3, 3, 0, 7, 3])
B = len(TARGETS)


def unit_features(seed=1, dim=128):
    rows = torch.randn(len(LABELS), dim, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=1)


def build(keys=KEYS, group=0):
    torch.manual_seed(0)
    model = build_model(tiny_cfg(keys)).train()
    if group:
        group_batch_norms(model, group)
    if keys is not BASELINE_KEYS:
        model.begin_clusters(unit_features(), LABELS, cameras=OF_ALL)
    return model


def batch(seed=2, targets=TARGETS):
    images = torch.rand(3 * B, 3, 64, 32, generator=torch.Generator().manual_seed(seed))
    return {
        "images": images * 255,
        "targets": targets.repeat(3),
        "camids": CAMERAS.repeat(3),
        "views": 3,
    }


def features_of_views(model):
    """Run a copy of the networks on each view; the student's of view 1, the teacher's of 2, 3."""
    twin = copy.deepcopy(model)
    views = twin.preprocess_image(batch()).unflatten(0, (3, B))
    with torch.no_grad():
        student = twin.heads(twin.backbone(views[0]), None)["features"]
        return student, *(
            twin.teacher_heads(twin.teacher_backbone(view), None)["features"] for view in views[1:]
        )


def test_losses_are_those_of_loops():
    """Written from the formulas, with sums over images, clusters and cameras."""
    model = build()
    student, second, weak = features_of_views(model)
    unit = unit_features()
    centroids = [unit[LABELS == cluster].mean(dim=0) for cluster in range(3)]
    pairs = [(0, 0), (0, 3), (1, 0), (1, 3), (2, 3), (2, 7)]
    proxies = [unit[(LABELS == a) & (OF_ALL == b)].mean(dim=0) for a, b in pairs]
    proxy = hard = soft = 0.0
    of_cameras = {0: [], 3: []}
    for i, feature in enumerate(student):
        logits = torch.stack([feature @ centroid / 0.5 for centroid in centroids])
        aim = torch.full((3,), 0.1 / 3)
        aim[TARGETS[i]] += 0.9
        proxy -= aim @ torch.log_softmax(logits, 0) / B
        cosines = torch.stack([F.cosine_similarity(feature, other, dim=0) for other in second])
        positive = cosines[TARGETS == TARGETS[i]].min()
        joined = torch.cat([positive[None], cosines[TARGETS != TARGETS[i]]]) / 0.1
        hard -= torch.log_softmax(joined, 0)[0] / B
        p = torch.stack([F.cosine_similarity(weak[i], other, dim=0) for other in weak])
        p = torch.softmax(p / 0.4, 0)
        soft += 10 * (p * (p.log() - torch.log_softmax(cosines / 0.4, 0))).sum() / B
        to_proxies = torch.stack([F.cosine_similarity(feature, q, dim=0) for q in proxies]) / 0.07
        own = torch.tensor([a == TARGETS[i] for a, _ in pairs])
        of_cameras[int(CAMERAS[i])].append(-torch.log_softmax(to_proxies, 0)[own].mean())
    camera = 0.5 * sum(sum(losses) / len(losses) for losses in of_cameras.values())
    expected = {
        "loss_proxy": proxy,
        "loss_hard": hard,
        "loss_soft": soft,
        "loss_camera": camera,
    }
    losses = {name: loss.detach() for name, loss in model(batch()).items()}
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


def test_agnostic_variant_has_all_terms_but_that_of_cameras():
    losses = {name: loss.detach() for name, loss in build()(batch()).items()}
    agnostic = build(AGNOSTIC)
    assert agnostic.proxies is None
    found = {name: loss.detach() for name, loss in agnostic(batch()).items()}
    losses.pop("loss_camera")
    assert found == losses


def test_step_moves_the_student_and_then_the_teacher_but_not_its_statistics():
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    sum(model(batch()).values()).backward()
    optimizer.step()
    after = {name: value.clone() for name, value in model.state_dict().items()}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    parameters = {name for name, p in model.named_parameters() if name.startswith("teacher")}
    assert not moved & parameters
    statistics = {name for name in before if "running_" in name}
    assert statistics <= moved
    for name in statistics:  # the two networks saw other images
        if name.startswith("teacher_"):
            assert not torch.equal(after[name], after[name.removeprefix("teacher_")])
    model.end_step(True)
    for name, value in model.state_dict().items():
        if name not in parameters:
            assert torch.equal(value, after[name]), name
        else:
            student = after[name.removeprefix("teacher_")]
            torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * student)
    assert all(p.grad is None for name, p in model.named_parameters() if name in parameters)
    trained = [p for name, p in model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)


def test_skipped_step_leaves_the_teacher():
    model = build()
    before = copy.deepcopy(model.teacher_backbone.state_dict())
    with torch.no_grad():
        model.backbone.conv1.conv.weight.add_(1)
    model.end_step(False)
    for name, value in model.teacher_backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_teacher_of_a_student_at_rest_comes_to_it_geometrically():
    model = build(KEYS | {"MODEL.ICE.MOMENTUM": 0.999})
    teacher = model.teacher_backbone.conv1.conv.weight
    with torch.no_grad():
        model.backbone.conv1.conv.weight.fill_(0.0)
        teacher.fill_(1.0)
    model.end_step(True)
    assert teacher.unique().tolist() == [pytest.approx(0.999)]
    for _ in range(9):
        model.end_step(True)
    assert teacher.unique().tolist() == [pytest.approx(0.999**10)]


def test_evaluation_is_the_teachers():
    model = build()
    with torch.no_grad():
        model.backbone.conv1.conv.weight.zero_()
    images = torch.rand(2, 3, 64, 32) * 255
    model.eval()
    found = model({"images": images.clone()})
    expected = model.teacher_heads(model.teacher_backbone(model.preprocess_image(images)))
    assert torch.equal(found, expected)
    assert not torch.equal(found[0], found[1])


def test_teacher_sees_the_first_view_for_its_statistics_alone():
    seen = build()
    unseen = build(KEYS | {"MODEL.ICE.FIRST_VIEW_SEEN": False})
    losses = [
        {name: loss.detach() for name, loss in model(batch()).items()} for model in (seen, unseen)
    ]
    assert losses[0] == losses[1]
    counts = [
        model.teacher_heads.bottleneck[0].num_batches_tracked.item() for model in (seen, unseen)
    ]
    assert counts == [3, 2]
    assert seen.heads.bottleneck[0].num_batches_tracked == 1


def test_order_is_undone_and_changes_nothing_without_groups():
    """The teacher's features of groups are those of the same images in another order."""
    grouped = build(group=2)
    twin = copy.deepcopy(grouped)
    views = twin.preprocess_image(batch()).unflatten(0, (3, B))
    torch.manual_seed(5)
    order = torch.randperm(B)
    assert order.tolist() != sorted(order.tolist())
    torch.manual_seed(5)
    found = grouped._taught(views)
    for view, features in zip(views, found, strict=True):
        with torch.no_grad():
            made = twin.teacher_heads(twin.teacher_backbone(view[order]), None)["features"]
        for place, image in enumerate(order):
            torch.testing.assert_close(features[image], made[place])
    plain = build()
    state = torch.get_rng_state()
    plain(batch())
    assert torch.equal(torch.get_rng_state(), state)  # no order was sampled


def test_batch_of_one_cluster_learns_all_the_same():
    model = build()
    losses = model(batch(targets=torch.zeros(B, dtype=torch.long)))
    assert losses["loss_hard"] == 0
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert model.backbone.conv1.conv.weight.grad.any()


@pytest.mark.parametrize("is_ice", [False, True])
def test_teacher_begins_as_the_student_of_a_file_that_has_no_teacher(tmp_path, is_ice):
    """Of a file with a teacher, such as that of an interrupted method, it takes the teacher."""
    source = build(KEYS if is_ice else BASELINE_KEYS)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.01)
        source.heads.bottleneck[0].running_mean.fill_(3.0)
        if is_ice:
            source.teacher_backbone.conv1.conv.weight.fill_(0.25)
    AtomicCheckpointer(source, str(tmp_path)).save("source")
    model = build()
    AtomicCheckpointer(model).load(str(tmp_path / "source.pth"), checkpointables=[])
    own = model.state_dict()
    for name, value in own.items():
        if name.startswith("teacher_") and not is_ice:
            assert torch.equal(value, own[name.removeprefix("teacher_")]), name
    expected = 0.25 if is_ice else source.backbone.conv1.conv.weight
    assert (model.teacher_backbone.conv1.conv.weight == expected).all()
    assert (model.heads.bottleneck[0].running_mean == 3).all()


def test_networks_begin_equal():
    own = build().state_dict()
    copies = [name for name in own if name.startswith("teacher_")]
    assert len(copies) > 100
    for name in copies:
        assert torch.equal(own[name], own[name.removeprefix("teacher_")])


def test_other_numbers_of_views_are_refused():
    model = build()
    with pytest.raises(ValueError, match="expected a batch of 3 views of each image, got 1 views"):
        model({**batch(), "views": 1})


def test_means_of_clusters_keep_their_length():
    means = cluster_means(unit_features(), LABELS)
    for cluster in range(3):
        expected = unit_features()[LABELS == cluster].double().mean(dim=0)
        torch.testing.assert_close(means[cluster], expected)
    assert (means.norm(dim=1) < 0.9).all()


def test_losses_under_autocast_are_float32_and_near():
    expected = {name: loss.detach() for name, loss in build()(batch()).items()}
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(batch())
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    found = {name: loss.detach() for name, loss in losses.items()}
    torch.testing.assert_close(found, expected, rtol=0.3, atol=0.3)  # random weights
