"""SpCL: its loss from its parts, and which rows of its memory move."""

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model

from fastreid_ext.modeling.losses import instance_contrast_loss

from ...tiny_cfg import tiny_cfg
from .test_cluster_contrast import KEYS

SPCL = KEYS | {
    "MODEL.META_ARCHITECTURE": "SpCL",
    "MODEL.HEADS.NUM_CLASSES": 6,
    "MODEL.LOSSES.NAME": ("InstanceContrastLoss",),
    "MODEL.LOSSES.INSTANCE_CONTRAST.SCALE": 2.0,
    "UNSUPERVISED.OUTLIERS": "kept",
    "UNSUPERVISED.EPS_GAP": 0.02,
    "DATALOADER.SAMPLER_TRAIN": "OtherCameraSampler",
}
del SPCL["MODEL.LOSSES.CLUSTER_CONTRAST.SCALE"]
LABELS = torch.tensor([0, 1, 2, 1, 3, 0])
INDICES = torch.tensor([5, 0, 2, 0])


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build_model(tiny_cfg(SPCL)).train()
    generator = torch.Generator().manual_seed(1)
    model.begin_clusters(F.normalize(torch.randn(6, 128, generator=generator), dim=1), LABELS)
    return model


def step(model):
    outputs = {}
    handle = model.heads.register_forward_hook(lambda *call: outputs.update(call[-1]))
    images = torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(2)) * 255
    batch = {"images": images, "targets": LABELS[INDICES], "indices": INDICES}
    loss = model(batch)["loss_cluster"]
    loss.backward()
    handle.remove()
    return loss.detach(), outputs["features"].detach()


def test_loss_is_that_of_the_memory_before_the_step(model):
    before = model.memory.features.clone()
    loss, features = step(model)
    assert torch.equal(model.memory.features, before)
    expected = 2 * instance_contrast_loss(features, model.memory, LABELS[INDICES], 0.05)
    torch.testing.assert_close(loss, expected)


def test_rows_of_the_images_move_and_not_those_of_the_classes(model):
    before = model.memory.features.clone()
    _, features = step(model)
    model.end_step(True)
    moved = (model.memory.features != before).any(dim=1)
    assert moved.tolist() == [True, False, True, False, False, True]
    expected = F.normalize(0.2 * before[2] + 0.8 * F.normalize(features[2], dim=0), dim=0)
    torch.testing.assert_close(model.memory.features[2], expected)


def test_step_that_was_not_applied_moves_nothing(model):
    before = model.memory.features.clone()
    step(model)
    model.end_step(False)
    assert torch.equal(model.memory.features, before)
    assert torch.equal(model.remembered_features(), before)
