"""UNRN: its losses from their parts, its teacher, and when centres and memory change."""

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.modeling.losses import (
    cluster_centroids,
    memory_circle_loss,
    smoothed_cross_entropy,
    teacher_disagreement,
    uncertain_cross_entropy,
    uncertain_triplet_loss,
)
from fastreid_ext.modeling.meta_arch.mean_teacher import outputs_of

from ...tiny_cfg import tiny_cfg

KEYS = {
    "UNSUPERVISED.ENABLED": True,
    "UNSUPERVISED.PERIOD": 2,
    "DATASETS.SOURCES": ("DukeMTMC",),
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
    "MODEL.META_ARCHITECTURE": "UNRN",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.NUM_CLASSES": 6,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.LOSSES.NAME": ("UNRNLoss",),
    "MODEL.UNRN.MEMORY": 6,
}
CODE = KEYS | {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.FEAT_DIM": 512,
    "MODEL.HEADS.NECK_FEAT": "before",
    "MODEL.UNRN.FORM": "code",
    "MODEL.UNRN.SIDE_HEAD": True,
    "MODEL.UNRN.MEMORY_HEAD": True,
    "MODEL.LOSSES.UNRN.SOURCE_SCALE": 0.0,
    "MODEL.LOSSES.UNRN.SMOOTHING": 0.0,
}
SOURCES = torch.tensor([0, 0, 1, 1])
LABELS = torch.tensor([0, 0, 1, 1, -1, 2, 2, 2])
TARGETS = torch.tensor([0, 0, 1, 1, 2, 2, 4, 4])
SCALES = {"contrast": 0.05, "centres": 0.0556}


def unit(seed, count, width):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


def begun(keys):
    torch.manual_seed(0)
    model = build_model(tiny_cfg(keys)).train()
    width = keys["MODEL.BACKBONE.FEAT_DIM"]
    model.num_sources = 2
    model.begin_sources(unit(1, 4, width), SOURCES)
    model.begin_clusters(unit(2, 8, width), LABELS)
    # A teacher of its own, so that both disagree.
    for parameter in [*model.teacher_backbone.parameters(), *model.teacher_heads.parameters()]:
        parameter.add_(0.3 * parameter.std(correction=0) * torch.randn(parameter.shape))
    return model


def images(seed=3):
    return torch.rand(8, 3, 64, 32, generator=torch.Generator().manual_seed(seed)) * 255


def losses_of(model, seed=3):
    with EventStorage():
        return model({"images": images(seed), "targets": TARGETS})


def outputs_of_both(model, seed=3):
    """Repeat the forward passes of a step; batch statistics make them equal."""
    batch = model.preprocess_image(images(seed))
    student = outputs_of(model.backbone, model.heads, batch)
    teacher = outputs_of(model.teacher_backbone, model.teacher_heads, batch)
    return student, teacher


@pytest.fixture
def model():
    return begun(KEYS)


def test_losses_of_the_paper_are_those_of_their_parts(model):
    losses = losses_of(model)
    student, teacher = outputs_of_both(model)
    compared = [out.neck[4:] @ model.centres.T for out in (student, teacher)]
    uncertainty = teacher_disagreement(*compared)
    omega = torch.exp(-uncertainty)
    assert uncertainty.min() > 1e-4
    logits = student.logits[:, :5]
    expected = {
        "loss_cls_target": uncertain_cross_entropy(logits[4:], TARGETS[4:], omega, 0.1),
        "loss_cls_source": smoothed_cross_entropy(logits[:4], TARGETS[:4], 0.1),
        "loss_triplet": uncertain_triplet_loss(student.pooled[4:], TARGETS[4:], omega),
        "loss_uncertainty": uncertainty.mean(),
        "loss_contrast": torch.zeros(()),
        "loss_centres": SCALES["centres"]
        * memory_circle_loss(
            F.normalize(student.neck[:4], dim=1) @ model.centres.T,
            F.one_hot(TARGETS[:4], 2).bool(),
        ),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)


def test_losses_of_the_code_compare_the_logits_of_the_side_head_too():
    model = begun(CODE)
    losses = losses_of(model)
    maps = []
    for net in (model.backbone, model.teacher_backbone):
        net.layer3[-1].register_forward_hook(lambda *call: maps.append(call[-1]))
    student, teacher = outputs_of_both(model)
    sides = [
        heads.side(heads.pool_layer(own))[:, :5]
        for heads, own in zip((model.heads, model.teacher_heads), maps, strict=True)
    ]
    compared = [
        torch.cat([side[4:], out.pooled[4:] @ model.centres.T], dim=1)
        for side, out in zip(sides, (student, teacher), strict=True)
    ]
    uncertainty = teacher_disagreement(*compared)
    omega = torch.exp(-uncertainty)
    each = [
        F.cross_entropy(logits[4:, :5], TARGETS[4:]) * omega.mean()
        for logits in (student.logits, sides[0])
    ]
    torch.testing.assert_close(losses["loss_cls_target"], sum(each))
    torch.testing.assert_close(losses["loss_uncertainty"], uncertainty.mean())
    triplet = uncertain_triplet_loss(student.pooled[4:], TARGETS[4:], omega, "code")
    torch.testing.assert_close(losses["loss_triplet"], triplet)
    assert "loss_cls_source" not in losses


@pytest.mark.parametrize(("keys", "has_gradient"), [(KEYS, True), (CODE, False)])
def test_products_with_the_centres_have_a_gradient_in_the_paper_alone(keys, has_gradient):
    model = begun(keys)
    losses_of(model)["loss_uncertainty"].backward()
    last = next(p for p in model.heads.bottleneck.parameters() if p.requires_grad)
    of_neck = last.grad is not None and bool(last.grad.any())
    assert of_neck == has_gradient
    if keys is CODE:
        assert model.heads.side.weight.grad.any()
        assert next(model.backbone.layer4.parameters()).grad is None


def test_equal_student_and_teacher_give_weights_of_one():
    torch.manual_seed(0)
    model = build_model(tiny_cfg(KEYS)).train()
    model.num_sources = 2
    model.begin_sources(unit(1, 4, 128), SOURCES)
    model.begin_clusters(unit(2, 8, 128), LABELS)
    losses = losses_of(model)
    student, _ = outputs_of_both(model)
    assert losses["loss_uncertainty"].item() == pytest.approx(0, abs=1e-6)
    expected = smoothed_cross_entropy(student.logits[4:, :5], TARGETS[4:], 0.1)
    torch.testing.assert_close(losses["loss_cls_target"], expected)


def test_contrast_looks_at_centres_and_memory_with_the_weights_of_both(model):
    losses_of(model, seed=5)
    model.end_step(True)
    losses = losses_of(model)
    student, teacher = outputs_of_both(model)
    omega = torch.exp(
        -teacher_disagreement(*[o.neck[4:] @ model.centres.T for o in (student, teacher)])
    )
    entries = model.memory.features[:4]
    similarity = (
        F.normalize(student.neck[4:], dim=1) @ torch.cat([model.centres, entries[:, :-1]]).T
    )
    is_positive = TARGETS[4:, None] == torch.cat([torch.tensor([0, 1]), TARGETS[4:]])
    weights = (omega[:, None] + torch.cat([torch.ones(2), entries[:, -1]])) / 2
    assert (entries[:, -1] < 1).all()
    expected = memory_circle_loss(similarity, is_positive, weights)
    torch.testing.assert_close(losses["loss_contrast"], SCALES["contrast"] * expected)
    unweighted = memory_circle_loss(similarity, is_positive)
    assert not torch.isclose(expected, unweighted)


def test_contrast_of_the_code_begins_in_the_epoch_after_a_clustering_without_weights():
    model = begun(CODE)
    losses_of(model, seed=5)
    model.end_step(True)
    losses = losses_of(model)
    assert losses["loss_contrast"].item() == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.keep_clusters()
    student, _ = outputs_of_both(model)
    entries = model.memory.features[:4, :-1]
    query = F.normalize(model.heads.memory(student.neck)[4:], dim=1)
    similarity = query @ torch.cat([model.centres, entries]).T
    is_positive = TARGETS[4:, None] == torch.cat([torch.tensor([0, 1]), TARGETS[4:]])
    expected = SCALES["contrast"] * memory_circle_loss(similarity, is_positive)
    torch.testing.assert_close(losses_of(model)["loss_contrast"], expected)


def test_memory_keeps_the_newest_target_features_and_their_labels(model):
    for seed in (5, 6):
        losses_of(model, seed)
        model.end_step(True)
    assert len(model.memory) == 6
    assert model.memory.labels.min() >= 2  # never a row of the source
    student, _ = outputs_of_both(model, seed=6)
    newest = F.normalize(student.neck[4:], dim=1)
    kept = model.memory.features[:, :-1]
    similarity = newest.double() @ kept.double().T
    assert (similarity.amax(dim=1) > 1 - 1e-5).all()


def test_new_clusters_empty_the_memory_and_old_ones_keep_it(model):
    losses_of(model)
    model.end_step(True)
    model.keep_clusters()
    assert len(model.memory) == 4
    model.begin_clusters(unit(2, 8, 128), LABELS)
    assert len(model.memory) == 0


def test_classifiers_of_the_paper_begin_as_centroids_and_those_of_the_code_at_random(model):
    model.begin_clusters(unit(2, 8, 128), LABELS)
    centroids = cluster_centroids(unit(2, 8, 128), LABELS)
    torch.testing.assert_close(model.heads.weight[2:5], centroids)
    assert torch.equal(model.teacher_heads.weight[2:], model.heads.weight[2:])
    code = begun(CODE)
    code.begin_clusters(unit(2, 8, 512), LABELS)
    rows = [code.heads.weight, code.teacher_heads.weight]
    rows += [code.heads.side.weight, code.teacher_heads.side.weight]
    assert all(0.0008 < own.std() < 0.0012 for own in rows)
    assert not torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[2], rows[3])


def moving_state(model):
    teacher = [*model.teacher_backbone.parameters(), *model.teacher_heads.parameters()]
    tensors = [*teacher, model.centres, model.memory.features, model.memory.labels]
    return [value.clone() for value in tensors], model.steps, len(model.memory)


def test_step_that_was_not_applied_moves_nothing(model):
    before = moving_state(model)
    losses_of(model)
    model.end_step(False)
    after = moving_state(model)
    assert all(torch.equal(*pair) for pair in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]
    losses_of(model)
    model.end_step(True)
    moved = moving_state(model)
    assert not torch.equal(moved[0][-3], before[0][-3])  # centres
    assert moved[1:] == (1, 4)


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.0), (1, 0.5), (9, 0.9), (999, 0.999), (1000, 0.999)]
)
def test_teacher_follows_by_a_share_that_grows_and_keeps_its_buffers(model, step, share):
    model.steps = step
    ours = model.heads.weight.detach()
    theirs = model.teacher_heads.weight.clone()
    buffers = {name: value.clone() for name, value in model.teacher_backbone.named_buffers()}
    for value in model.backbone.buffers():
        value.add_(1)
    model.end_step(True)
    expected = share * theirs + (1 - share) * ours
    torch.testing.assert_close(model.teacher_heads.weight, expected)
    for name, value in model.teacher_backbone.named_buffers():
        assert torch.equal(value, buffers[name])
    assert not any(p.requires_grad for p in model.teacher_backbone.parameters())


def test_teacher_normalises_with_its_own_batches_and_is_evaluated(model):
    norm = next(m for m in model.teacher_backbone.modules() if hasattr(m, "running_mean"))
    before = norm.running_mean.clone()
    losses_of(model)
    assert not torch.equal(norm.running_mean, before)
    model.eval()
    batch = images()[:2]
    found = model({"images": batch.clone()})
    expected = model.teacher_heads(
        model.teacher_backbone(model.preprocess_image({"images": batch.clone()}))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("keys", [KEYS, CODE], ids=["paper", "code"])
def test_remembered_state_makes_an_equal_model(keys):
    model = begun(keys)
    losses_of(model, seed=5)
    model.end_step(True)
    torch.manual_seed(1)
    other = build_model(tiny_cfg(keys)).train()
    other.num_sources = 2
    other.load_state_dict(model.state_dict())
    other.remember(model.remembered())
    for each in (model, other):
        each.keep_clusters()
    expected = losses_of(model)
    for name, value in losses_of(other).items():
        assert torch.equal(value, expected[name]), name
    for each in (model, other):
        each.end_step(True)
    assert torch.equal(other.centres, model.centres)
    assert torch.equal(other.memory.features, model.memory.features)
    assert other.steps == model.steps == 2


@pytest.mark.parametrize("keys", [KEYS, CODE], ids=["paper", "code"])
def test_losses_under_autocast_are_float32_and_near(keys):
    model = begun(keys)
    losses_of(model, seed=5)
    model.end_step(True)
    model.keep_clusters()
    expected = losses_of(model)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model)
    for name, value in losses.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value, expected[name], rtol=0.2, atol=0.05)
    model.end_step(True)
    assert model.centres.dtype == model.memory.features.dtype == torch.float32
