"""Mixed and smoothed targets of pre-training by classification, against timm's numbers."""

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from timm.data.mixup import Mixup as OfTimm
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy
from torch.nn import functional as F

from fastreid_ext.config import load_config
from fastreid_ext.data.transforms.batch_mixing import Mixture, mixed_images
from fastreid_ext.modeling.meta_arch import add_view_losses

from ..recipes import base_recipe

CLASSES = 7
ROWS = 6
SMOOTHING = 0.1
RECIPE = base_recipe("classification-pretrain")
TARGETS = torch.tensor([0, 3, 3, 6, 2, 1])
FLIPPED = tuple(range(ROWS))[::-1]  # timm mixes each row with that from the other end
SHARED = 0.1 * (CLASSES - 1) / CLASSES  # what timm's 0.1 is for fastreid


def model_of(smoothing):
    pairs = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", CLASSES]
    pairs += ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"]
    pairs += ["MODEL.LOSSES.CE.EPSILON", smoothing]
    cfg = load_config(RECIPE, [str(part) for part in pairs])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    add_view_losses(model, cfg)
    return model


def images():
    return torch.rand(ROWS, 3, 64, 32, generator=torch.Generator().manual_seed(1)) * 255


def loss_and_logits(model, batch):
    kept = {}
    hook = model.heads.register_forward_hook(lambda module, inputs, out: kept.update(out))
    with EventStorage() as storage:
        losses = model(batch)
        accuracy = storage.latest()["cls_accuracy"][0]
    hook.remove()
    assert set(losses) == {"loss_cls"}
    return losses["loss_cls"], kept["cls_outputs"], float(accuracy)


@pytest.mark.parametrize("weight", [1.0, 0.63, 0.0])
def test_mixed_loss_and_gradient_equal_timms_soft_targets(weight):
    model = model_of(SHARED)
    batch = {"images": images(), "targets": TARGETS}
    batch["mix"] = {"targets": TARGETS[list(FLIPPED)], "weight": weight}
    loss, logits, accuracy = loss_and_logits(model, batch)
    logits.retain_grad()
    loss.backward()
    same = logits.detach().clone().requires_grad_()
    soft = mixup_target(TARGETS, CLASSES, weight, SMOOTHING)
    expected = SoftTargetCrossEntropy()(same, soft)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits.grad, same.grad)
    assert accuracy == pytest.approx((logits.argmax(1) == TARGETS).float().mean().item())


def test_unmixed_batch_has_smoothed_targets():
    loss, logits, _ = loss_and_logits(model_of(SHARED), {"images": images(), "targets": TARGETS})
    torch.testing.assert_close(loss, F.cross_entropy(logits, TARGETS, label_smoothing=SMOOTHING))


def test_epsilon_of_fastreid_by_hand():
    """It goes to the other classes only: 0.9 for the own, 0.1 / 6 for each of six others."""
    loss, logits, _ = loss_and_logits(model_of(0.1), {"images": images(), "targets": TARGETS})
    targets = torch.full((ROWS, CLASSES), 0.1 / 6).scatter_(1, TARGETS[:, None], 0.9)
    torch.testing.assert_close(loss, -(targets * logits.log_softmax(1)).sum(1).mean())


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_images_equal_timms(kind):
    alphas = {"mixup_alpha": 0.8, "cutmix_alpha": 0.0}
    if kind == "cutmix":
        alphas = {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}
    for seed in range(8):
        np.random.seed(seed)  # noqa: NPY002  timm samples from it
        given = images()
        theirs, soft = OfTimm(**alphas, num_classes=CLASSES)(given.clone(), TARGETS)
        if kind == "mixup":
            np.random.seed(seed)  # noqa: NPY002
            np.random.rand()  # noqa: NPY002  whether to mix
            mixture = Mixture(FLIPPED, float(np.random.beta(0.8, 0.8)))  # noqa: NPY002
        else:
            mixture = _box_of(given, theirs)
        torch.testing.assert_close(mixed_images(given, mixture), theirs)
        expected = mixup_target(TARGETS, CLASSES, mixture.weight, SMOOTHING)
        torch.testing.assert_close(soft, expected)


def _box_of(before, after):
    """Read the pasted rectangle off timm's images; its weight is the area that is left."""
    changed = (before != after).any(dim=1).any(dim=0)
    if not changed.any():
        return Mixture(FLIPPED, 1.0, (slice(0, 0), slice(0, 0)))
    rows = changed.any(1).nonzero().flatten()
    columns = changed.any(0).nonzero().flatten()
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    area = len(rows) * len(columns)
    return Mixture(FLIPPED, 1 - area / changed.numel(), box)
