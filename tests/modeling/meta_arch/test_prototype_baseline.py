"""PrototypeBaseline: its losses from their parts, its memory, and what it has of DCAC's recipe."""

import pytest
import torch
from fastreid.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn import functional as F

from fastreid_ext.engine import Trainer
from fastreid_ext.modeling.losses import PrototypeMemory

from ...tiny_cfg import dotted, tiny_cfg

N = 5
SMALL = {
    "MODEL.META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.HEADS.NUM_CLASSES": N,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "INPUT.SIZE_TRAIN": [64, 32],
}
TARGETS = torch.tensor([0, 0, 3, 3])


def build(**changes: object) -> nn.Module:
    torch.manual_seed(0)
    model = Trainer.build_model(tiny_cfg(SMALL, dotted(changes))).train()
    start = torch.randn_like(model.memory.prototypes)
    model.memory.rebuild(start, torch.arange(len(start)))
    return model


def images() -> Tensor:
    return 255 * torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def losses_of(model: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the losses of a batch, and the features that its head gave for them."""
    seen = []
    handle = model.heads.register_forward_hook(lambda *args: seen.append(args[2]["features"]))
    with EventStorage():
        losses = model({"images": images(), "targets": TARGETS.clone()})
    handle.remove()
    return losses, seen[0]


def test_losses_are_the_cross_entropy_and_that_of_the_prototypes_before_the_update():
    model = build(MODEL__LOSSES__PROTOTYPE__TEMPERATURE=0.05, MODEL__LOSSES__PROTOTYPE__SCALE=0.5)
    before = model.memory.prototypes.clone()
    losses, features = losses_of(model)
    assert losses.keys() == {"loss_cls", "loss_prototype"}
    scores = F.normalize(features, dim=1) @ before.T / 0.05
    expected = -0.5 * scores.log_softmax(dim=1)[torch.arange(4), TARGETS].mean()
    torch.testing.assert_close(losses["loss_prototype"], expected)
    losses["loss_prototype"].backward()  # the update has changed the buffer meanwhile
    assert model.backbone.conv1.conv.weight.grad.any()
    assert model.heads.weight.grad is None


def test_batch_updates_the_prototypes_with_momentum():
    model = build(MODEL__LOSSES__PROTOTYPE__MOMENTUM=0.3)
    expected = PrototypeMemory(N, 128, momentum=0.3)
    expected.load_state_dict(model.memory.state_dict())
    before = model.memory.prototypes.clone()
    _, features = losses_of(model)
    expected.update(features, TARGETS)
    assert torch.equal(model.memory.prototypes, expected.prototypes)
    changed = (model.memory.prototypes != before).any(dim=1)
    assert changed.tolist() == [True, False, False, True, False]


def test_features_are_those_after_the_neck():
    model = build()
    _, features = losses_of(model)
    mean = features.mean(dim=0)
    torch.testing.assert_close(mean, torch.zeros(128), atol=1e-4, rtol=0)


def test_evaluation_leaves_the_prototypes():
    model = build().eval()
    before = model.memory.prototypes.clone()
    with torch.no_grad():
        assert model({"images": images()}).shape == (4, 128)
    assert torch.equal(model.memory.prototypes, before)


def test_embedding_sets_the_width_of_prototypes():
    assert build(MODEL__HEADS__EMBEDDING_DIM=16).memory.prototypes.shape == (N, 16)


def test_classifier_starts_as_in_dcac():
    model = build(MODEL__HEADS__NUM_CLASSES=751)
    assert float(model.heads.weight.detach().std()) == pytest.approx(0.001, rel=0.02)
