"""Losses by name: fastreid's equal fastreid's, and a user's is added to any architecture."""

import copy

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage
from torch import Tensor, nn

from fastreid_ext.config import load_config
from fastreid_ext.modeling.losses.registered import build_losses
from fastreid_ext.modeling.meta_arch import add_losses, add_view_losses
from fastreid_ext.registries import LOSS_REGISTRY


@LOSS_REGISTRY.register()
class ToyCenterLoss(nn.Module):
    """Squared distance of features to a learned centre of their identity."""

    def __init__(self, cfg) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.ones(cfg.MODEL.HEADS.NUM_CLASSES, 128))

    def forward(self, outputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        return (outputs["features"] - self.centers[targets]).pow(2).sum(dim=1).mean()


def config(*keys: object):
    tiny = [
        *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_osnet_backbone"),
        *("MODEL.BACKBONE.DEPTH", "x0_25", "MODEL.BACKBONE.FEAT_DIM", "128"),
        *("MODEL.HEADS.NUM_CLASSES", "4", "DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"),
        *("DATALOADER.NUM_INSTANCE", "2", "SOLVER.IMS_PER_BATCH", "8"),
    ]
    return load_config("", [*tiny, *map(str, keys)])


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((8, 3, 64, 32), generator=generator) * 255
    return {"images": images, "targets": torch.arange(8) // 2}


HOST = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")


def test_build_losses_equal_fastreids_baseline():
    cfg = config("MODEL.LOSSES.NAME", HOST, "MODEL.LOSSES.CE.EPSILON", 0.1)
    model = build_model(cfg)
    outputs = {
        "cls_outputs": torch.randn(8, 4),
        "pred_class_logits": torch.randn(8, 4),
        "features": torch.randn(8, 16),
    }
    with EventStorage():
        theirs = model.losses(outputs, batch()["targets"])
    ours = {key: loss(outputs, batch()["targets"]) for key, loss in build_losses(cfg).items()}
    assert ours == theirs


def test_registered_loss_is_trained_and_saved():
    cfg = config("MODEL.LOSSES.NAME", ("CrossEntropyLoss", "ToyCenterLoss"))
    torch.manual_seed(0)
    model = build_model(cfg)
    names = set(model.state_dict())
    add_losses(model, cfg)
    assert set(model.state_dict()) - names == {"added_losses.loss_toy_center.centers"}
    optimizer, _ = build_optimizer(cfg, model)
    values = []
    with EventStorage():
        for _ in range(12):
            losses = model(batch())
            assert set(losses) == {"loss_cls", "loss_toy_center"}
            values.append(losses["loss_toy_center"].item())
            optimizer.zero_grad()
            (losses["loss_cls"] + losses["loss_toy_center"]).backward()
            optimizer.step()
    assert values[-1] < values[0]
    assert not torch.equal(model.added_losses["loss_toy_center"].centers, torch.ones(4, 128))


def test_registered_loss_is_shared_by_branches():
    cfg = config(
        *("MODEL.META_ARCHITECTURE", "BDB", "MODEL.HEADS.NAME", "BDBHead"),
        *("MODEL.LOSSES.NAME", ("CrossEntropyLoss", "ToyCenterLoss")),
    )
    model = build_model(cfg)
    add_losses(model, cfg)
    centers = model.added_losses["loss_toy_center"].centers
    features = {"global": torch.randn(8, 128), "part": torch.randn(8, 128)}
    outputs = {
        name: {
            "features": value,
            "cls_outputs": torch.randn(8, 4),
            "pred_class_logits": value[:, :4],
        }
        for name, value in features.items()
    }
    targets = batch()["targets"]
    with EventStorage():
        losses = model.losses(outputs, targets)
    assert {"loss_cls_global", "loss_cls_part"} <= set(losses)
    for name, value in features.items():
        rows = [((value[row] - centers[targets[row]]) ** 2).sum() for row in range(8)]
        expected = sum(rows) / 8 / 2
        torch.testing.assert_close(losses[f"loss_toy_center_{name}"], expected)


def test_registered_loss_sees_the_clean_view_only():
    cfg = config(
        *("MODEL.LOSSES.NAME", ("CrossEntropyLoss", "JSConsistencyLoss", "ToyCenterLoss")),
        *("INPUT.VIEWS.RECIPE", "cil", "INPUT.AUGMIX.METHOD", "paper"),
    )
    model = build_model(cfg)
    add_losses(model, cfg)
    alone = copy.deepcopy(model)
    add_view_losses(model, cfg)
    outputs = {
        name: torch.randn(24, width) for name, width in (("features", 128), ("cls_outputs", 4))
    }
    outputs["pred_class_logits"] = torch.randn(24, 4)
    targets = (torch.arange(8) // 2).repeat(3)
    model.losses.remember(model, ({"views": 3},))
    with EventStorage():
        losses = model.losses(outputs, targets)
        clean = alone.losses({name: value[:8] for name, value in outputs.items()}, targets[:8])
    assert set(losses) == {"loss_cls", "loss_toy_center", "loss_js"}
    assert losses["loss_toy_center"] == clean["loss_toy_center"]


def test_build_losses_suggests_a_name_for_an_unknown_one():
    with pytest.raises(ValueError, match=r"MODEL\.LOSSES\.NAME; did you mean 'ToyCenterLoss'\?"):
        config("MODEL.LOSSES.NAME", ("ToyCentreLoss",))
    with pytest.raises(ValueError, match=r"MODEL\.LOSSES\.NAME; did you mean 'TripletLoss'\?"):
        build_losses(config(), ["TripleLoss"])
