"""ContrastivePretrain, its queue and key encoder, and SimCLRPretrain, on a tiny backbone."""

import copy
import itertools
import math

import pytest
import torch
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.solver import build_optimizer
from torch import nn
from torch.nn import functional as F

from fastreid_ext.modeling.losses import (
    js_consistency_loss,
    multi_positive_contrastive_loss,
)
from fastreid_ext.modeling.meta_arch.contrastive_pretrain import KeyQueue

from ...tiny_cfg import tiny_cfg

B = 4
D = 8
TAU = 0.7
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_three_convolutions",
    "MODEL.BACKBONE.FEAT_DIM": 16,
    "MODEL.HEADS.NAME": "ProjectionHead",
    "MODEL.HEADS.EMBEDDING_DIM": D,
    "MODEL.HEADS.PROJECTION.HIDDEN_DIM": 16,
    "SOLVER.OPT": "SGD",
    "SOLVER.BASE_LR": 0.05,
    "SOLVER.IMS_PER_BATCH": B,
    "INPUT.SIZE_TRAIN": [64, 32],
}
DAPG = SMALL | {
    "MODEL.META_ARCHITECTURE": "ContrastivePretrain",
    "INPUT.VIEWS.RECIPE": "dapg",
    "MODEL.LOSSES.NAME": ("MultiPositiveContrastiveLoss", "JSConsistencyLoss"),
    "MODEL.LOSSES.MULTI_POSITIVE.SCALE": 0.5,
    "MODEL.LOSSES.JS.SCALE": 0.5,
    "MODEL.LOSSES.MULTI_POSITIVE.TEMPERATURE": TAU,
}
SIMCLR = SMALL | {
    "MODEL.META_ARCHITECTURE": "SimCLRPretrain",
    "INPUT.VIEWS.RECIPE": "independent",
    "INPUT.VIEWS.COUNT": 2,
    "MODEL.LOSSES.NAME": ("NTXentLoss",),
    "MODEL.LOSSES.NT_XENT.TEMPERATURE": 0.2,
}

POSE = DAPG | {
    "INPUT.VIEWS.RECIPE": "pose",
    "DATASETS.POSITIVES.ROOTS": ["generated"],
    "MODEL.LOSSES.NAME": ("MultiPositiveContrastiveLoss",),
    "MODEL.LOSSES.MULTI_POSITIVE.SCALE": 1.0,
}
del POSE["MODEL.LOSSES.JS.SCALE"]


@pytest.fixture(scope="module", autouse=True)
def three_convolutions():
    """A user's backbone, milliseconds a step."""

    def build_three_convolutions(cfg: CfgNode) -> nn.Module:
        widths = (3, 8, 16, 16)
        blocks = [
            (nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        ]
        return nn.Sequential(*itertools.chain(*blocks))

    BACKBONE_REGISTRY.register(build_three_convolutions)
    yield
    del BACKBONE_REGISTRY._obj_map["build_three_convolutions"]


def build(keys: dict = DAPG, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model(tiny_cfg(keys, **changes)).train()


def batch(views: int = 4, seed: int = 1, images: int = B) -> dict:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(views * images, 3, 64, 32, generator=generator) * 255
    return {"images": pixels, "targets": torch.arange(images).repeat(views), "views": views}


def embeddings(model: nn.Module, given: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Query embeddings of all four views, keys of the last three, in training mode."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        images = twin.preprocess_image(given)
        rows = twin.heads(twin.backbone(images)).unflatten(0, (4, B))
        keys = twin.key_heads(twin.key_backbone(images[B:])).unflatten(0, (3, B))
    return rows, keys


def test_losses_equal_the_paper_with_negatives_of_the_batch():
    model = build()
    given = batch()
    (query, *views), keys = embeddings(model, given)
    negatives = torch.stack(
        [keys[:, [j for j in range(B) if j != b]].flatten(0, 1) for b in range(B)]
    )
    contrast = multi_positive_contrastive_loss(query, keys.transpose(0, 1), negatives, TAU)
    agreement = js_consistency_loss(
        [(negatives @ view[:, :, None])[..., 0] / TAU for view in views]
    )
    losses = {name: loss.detach() for name, loss in model(given).items()}
    expected = {"loss_contrast": 0.5 * contrast, "loss_js": 0.5 * agreement}
    torch.testing.assert_close(losses, expected)
    assert agreement > 0


def test_losses_equal_the_paper_with_a_queue():
    model = build(MODEL__MOCO__QUEUE=20)
    given = batch()
    queue = model.queue.keys.clone()
    (query, *views), keys = embeddings(model, given)
    contrast = multi_positive_contrastive_loss(query, keys.transpose(0, 1), queue, TAU)
    agreement = js_consistency_loss([view @ queue.T / TAU for view in views])
    losses = {name: loss.detach() for name, loss in model(given).items()}
    expected = {"loss_contrast": 0.5 * contrast, "loss_js": 0.5 * agreement}
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(model.queue.keys[:12], keys.flatten(0, 1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.queue.keys[12:], queue[12:], rtol=0, atol=0)


def test_js_over_channels():
    model = build(MODEL__LOSSES__JS__OVER="channels")
    given = batch()
    (_, *views), _ = embeddings(model, given)
    expected = 0.5 * js_consistency_loss([view / TAU for view in views])
    torch.testing.assert_close(model(given)["loss_js"].detach(), expected)


def test_js_left_out_shows_the_query_encoder_one_view():
    names = ("MultiPositiveContrastiveLoss",)
    keys = {key: value for key, value in DAPG.items() if key != "MODEL.LOSSES.JS.SCALE"}
    model = build(keys, MODEL__LOSSES__NAME=names)
    seen = []
    for encoder in (model.backbone, model.key_backbone):
        encoder.register_forward_hook(lambda module, given, made: seen.append(len(given[0])))
    assert set(model(batch())) == {"loss_contrast"}
    assert seen == [3 * B, B]


def test_negatives_tell_images_apart_not_corruptions():
    """A network that sees k1, k2, k3 and nothing else must not gain by it.

    Negatives have the same composition as positives: with constant features, and with features
    that depend on the view alone, the loss is that of chance, log(1 + 3 (B - 1) / 3), or above.
    """
    model = build()
    by_view = F.normalize(torch.randn(4, 1, D), dim=2)
    by_view[0] = by_view[1]
    loss = model._losses(by_view.expand(4, B, D), by_view[1:].expand(3, B, D))["loss_contrast"]
    assert float(loss) == pytest.approx(0.5 * math.log(B))


def test_key_encoder_has_no_gradient_and_no_place_in_the_optimizer():
    cfg = tiny_cfg(DAPG)
    model = build()
    keys = {name for name, _ in model.named_parameters() if name.startswith("key_")}
    assert len(keys) == sum(not p.requires_grad for p in model.parameters())
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer, params = build_optimizer(cfg, model)
    flat = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert flat == sum(p.numel() for p in model.parameters() if p.requires_grad)
    sum(model(batch()).values()).backward()
    optimizer.step()
    params.assert_buffer_is_valid()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in keys)
        assert torch.equal(parameter, before[name]) == (name in keys)


def test_key_encoder_is_a_moving_average_of_the_query_encoder():
    cfg = tiny_cfg(DAPG, MODEL__MOCO__MOMENTUM=0.9)
    model = build(MODEL__MOCO__MOMENTUM=0.9)
    optimizer, _ = build_optimizer(cfg, model)
    names = [name for name, _ in model.backbone.named_parameters()]
    expected = {name: p.clone() for name, p in model.backbone.named_parameters()}
    for step in range(4):
        query = dict(model.backbone.named_parameters())
        for name in names:  # before the keys of this step are made
            expected[name] = 0.9 * expected[name] + 0.1 * query[name].detach()
        optimizer.zero_grad(set_to_none=False)
        sum(model(batch(seed=step)).values()).backward()
        optimizer.step()
    keys = {name: p.detach() for name, p in model.key_backbone.named_parameters()}
    torch.testing.assert_close(keys, expected, rtol=1e-5, atol=1e-6)
    moved = max(
        float((keys[n] - p.detach()).abs().max()) for n, p in model.backbone.named_parameters()
    )
    assert moved > 1e-4


@pytest.mark.parametrize(
    ("keys", "start", "share"),
    # A queue begins with random vectors, which are far from everything: count from when it is full.
    [
        (DAPG, 0, 0.75),
        (DAPG | {"MODEL.MOCO.QUEUE": 72}, 10, 0.9),
        (SIMCLR, 0, 0.6),
        (POSE, 0, 0.75),
    ],
    ids=["in batch", "queue", "SimCLR", "stage 2"],
)
def test_loss_falls_in_a_few_steps(keys, start, share):
    """Images of one random colour each, views with noise of their own, a quick key encoder."""
    views = 4 if keys["INPUT.VIEWS.RECIPE"] == "dapg" else 2
    if keys is not SIMCLR:
        keys = keys | {"MODEL.MOCO.MOMENTUM": 0.5}
    model = build(keys)
    optimizer, _ = build_optimizer(tiny_cfg(keys), model)
    generator = torch.Generator().manual_seed(5)
    contrast = []
    for step in range(40):
        given = batch(views, seed=step, images=8)
        colours = torch.rand(8, 3, 1, 1, generator=generator) * 200
        given["images"] = colours.repeat(views, 1, 1, 1) + given["images"] / 5
        losses = model(given)
        optimizer.zero_grad(set_to_none=False)
        sum(losses.values()).backward()
        optimizer.step()
        contrast.append(float(losses["loss_contrast"].detach()))
    assert sum(contrast[-3:]) < share * sum(contrast[start : start + 3])


def test_queue_is_a_ring():
    queue = KeyQueue(5, 2)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
    first = torch.full((2, 2), float(2))
    second = torch.full((1, 2), float(1))
    third = torch.full((4, 2), float(4))
    start = queue.keys.clone()
    queue.push(first)
    queue.push(second)
    assert queue.keys[:3].tolist() == [[2, 2], [2, 2], [1, 1]]
    torch.testing.assert_close(queue.keys[3:], start[3:])
    queue.push(third)  # around the end
    assert queue.keys.tolist() == [[4, 4], [4, 4], [1, 1], [4, 4], [4, 4]]
    assert int(queue.position) == 2
    with pytest.raises(ValueError, match=r"at most the 5 keys of MODEL\.MOCO\.QUEUE, got 6"):
        queue.push(torch.zeros(6, 2))


def test_checkpoint_holds_queue_and_key_encoder():
    model = build(MODEL__MOCO__QUEUE=20)
    twin = build(MODEL__MOCO__QUEUE=20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
        model(batch())
    twin.load_state_dict(model.state_dict())
    ours = dict(model(batch(seed=2)))
    theirs = dict(twin(batch(seed=2)))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert torch.equal(model.queue.keys, twin.queue.keys)
    assert int(twin.queue.position) == 24 % 20


@pytest.mark.parametrize("keys", [DAPG, SIMCLR])
def test_evaluation_gives_the_pooled_feature_of_the_query_encoder(keys):
    model = build(keys).eval()
    given = batch(1)
    features = model({"images": given["images"]})
    expected = model.backbone(model.preprocess_image(given)).mean(dim=(2, 3))
    torch.testing.assert_close(features, expected)
    assert not torch.allclose(features.norm(dim=1), torch.ones(B))


@pytest.mark.parametrize("keys", [DAPG, DAPG | {"MODEL.MOCO.QUEUE": 40}, SIMCLR])
def test_losses_in_mixed_precision_are_near_full_precision(keys):
    views = 2 if keys is SIMCLR else 4
    full = {name: float(loss.detach()) for name, loss in build(keys)(batch(views)).items()}
    model = build(keys)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(batch(views))
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    for name, loss in losses.items():
        assert float(loss.detach()) == pytest.approx(full[name], abs=0.15)


def test_simclr_equals_nt_xent_by_loops():
    model = build(SIMCLR)
    given = batch(2)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        rows = twin.heads(twin.backbone(twin.preprocess_image(given)))
    cosines = rows @ rows.T / 0.2
    total = 0.0
    for i in range(2 * B):
        others = [float(cosines[i, j]) for j in range(2 * B) if j != i]
        positive = float(cosines[i, (i + B) % (2 * B)])
        total += math.log(sum(map(math.exp, others))) - positive
    loss = model(given)["loss_contrast"].detach()
    assert float(loss) == pytest.approx(total / (2 * B), rel=1e-4)


@pytest.mark.parametrize(("keys", "views"), [(DAPG, 4), (SIMCLR, 2)])
def test_split_views_refuses_other_numbers_of_views(keys, views):
    with pytest.raises(
        ValueError, match=rf"expected a batch of {views} views of each image, got 3"
    ):
        build(keys)(batch(3))


def test_stage_2_is_infonce_by_loops():
    """One positive, the pose-changed image; the pose-changed images of the others are negatives."""
    model = build(POSE)
    given = batch(2)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        images = twin.preprocess_image(given)
        queries = twin.heads(twin.backbone(images[:B]))
        keys = twin.key_heads(twin.key_backbone(images[B:]))
    total = 0.0
    for i in range(B):
        scores = [float(queries[i] @ keys[j]) / TAU for j in range(B)]
        total += math.log(sum(map(math.exp, scores))) - scores[i]
    losses = model(given)
    assert set(losses) == {"loss_contrast"}
    assert float(losses["loss_contrast"].detach()) == pytest.approx(total / B, rel=1e-4)


def test_stage_2_with_equal_features_is_chance_and_has_a_gradient():
    model = build(POSE)
    same = F.normalize(torch.ones(1, 1, D), dim=2)
    loss = model._losses(same.expand(1, B, D), same.expand(1, B, D))["loss_contrast"]
    assert float(loss) == pytest.approx(math.log(B))
    sum(model(batch(2)).values()).backward()
    assert all(p.grad.isfinite().all() for p in model.backbone.parameters())
    assert any(p.grad.abs().max() > 0 for p in model.backbone.parameters())


def test_stage_2_keeps_a_queue_of_pose_changed_images():
    model = build(POSE, MODEL__MOCO__QUEUE=3 * B)
    model(batch(2))
    assert int(model.queue.position) == B


def test_stage_2_refuses_other_numbers_of_views():
    with pytest.raises(ValueError, match="expected a batch of 2 views of each image, got 4"):
        build(POSE)(batch(4))
