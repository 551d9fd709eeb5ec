"""BYOLPretrain on a tiny backbone: its loss by loops, its target network, and that it learns."""

import copy

import pytest
import torch
from fastreid.solver import build_optimizer
from torch.nn import functional as F

from fastreid_ext.modeling.heads import ProjectionHead

from ...tiny_cfg import tiny_cfg
from .test_contrastive_pretrain import SIMCLR, B, D, batch, build, three_convolutions  # noqa: F401

BYOL = {key: value for key, value in SIMCLR.items() if "NT_XENT" not in key} | {
    "MODEL.META_ARCHITECTURE": "BYOLPretrain",
    "MODEL.LOSSES.NAME": ("BYOLLoss",),
    "MODEL.HEADS.PROJECTION.WITH_NORM": True,
    "MODEL.BYOL.MOMENTUM": 0.9,
}


def test_loss_is_that_of_both_directions_by_loops():
    model = build(BYOL)
    given = batch(2)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        images = twin.preprocess_image(given)
        predicted = twin.predictor(twin.heads.project(twin.backbone(images)))
        target = twin.target_heads.project(twin.target_backbone(images))
    total = 0.0
    for b in range(B):
        for one, other in ((b, B + b), (B + b, b)):
            total += 2 - 2 * float(F.cosine_similarity(predicted[one], target[other], dim=0))
    loss = model(given)["loss_byol"].detach()
    assert float(loss) == pytest.approx(total / B, rel=1e-4)


def test_equal_views_and_a_perfect_predictor_have_no_loss():
    model = build(BYOL)
    model.predictor = torch.nn.Identity()
    given = batch(2)
    given["images"] = given["images"][:B].repeat(2, 1, 1, 1)
    assert float(model(given)["loss_byol"].detach()) == pytest.approx(0, abs=1e-5)


def test_target_network_is_a_moving_average_without_gradient():
    cfg = tiny_cfg(BYOL)
    model = build(BYOL)
    optimizer, _ = build_optimizer(cfg, model)
    expected = {name: p.clone() for name, p in model.backbone.named_parameters()}
    for step in range(3):
        online = dict(model.backbone.named_parameters())
        for name, value in expected.items():  # before the targets of this step are made
            expected[name] = 0.9 * value + 0.1 * online[name].detach()
        optimizer.zero_grad(set_to_none=False)
        model(batch(2, seed=step))["loss_byol"].backward()
        optimizer.step()
    targets = {name: p.detach() for name, p in model.target_backbone.named_parameters()}
    torch.testing.assert_close(targets, expected, rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith("target_")


def test_prediction_of_the_other_view_gets_better_without_a_collapse():
    model = build(BYOL)
    optimizer, _ = build_optimizer(tiny_cfg(BYOL), model)
    generator = torch.Generator().manual_seed(5)
    losses = []
    for step in range(40):
        given = batch(2, seed=step, images=8)
        colours = torch.rand(8, 3, 1, 1, generator=generator) * 200
        given["images"] = colours.repeat(2, 1, 1, 1) + given["images"] / 5
        loss = model(given)["loss_byol"]
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3])
    features = model.eval()(given)
    assert features.std(dim=0).amax() > 1e-3


def test_losses_in_mixed_precision_are_near_full_precision():
    full = float(build(BYOL)(batch(2))["loss_byol"].detach())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build(BYOL)(batch(2))["loss_byol"]
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(full, abs=0.15)


def test_evaluation_gives_the_pooled_feature_of_the_online_network():
    model = build(BYOL).eval()
    given = batch(1)
    expected = model.backbone(model.preprocess_image(given)).mean(dim=(2, 3))
    torch.testing.assert_close(model({"images": given["images"]}), expected)


def test_other_numbers_of_views_are_refused():
    with pytest.raises(ValueError, match="expected a batch of 2 views of each image, got 3"):
        build(BYOL)(batch(3))


def test_head_with_norm_has_unit_variance_in_its_hidden_layer():
    head = ProjectionHead(feat_dim=6, hidden_dim=5, embedding_dim=D, with_norm=True).train()
    hidden = head.projection[:2](torch.randn(64, 6))
    torch.testing.assert_close(hidden.std(dim=0, correction=0), torch.ones(5), rtol=1e-3, atol=1e-3)
    assert head.project(torch.rand(4, 6, 2, 2)).shape == (4, D)
