"""ClusterContrast: its loss from its parts, and when its memory moves."""

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model

from fastreid_ext.modeling.losses import prototype_contrast_loss
from fastreid_ext.modeling.losses.cluster_memory import sequential_update

from ...tiny_cfg import tiny_cfg

KEYS = {
    "UNSUPERVISED.ENABLED": True,
    "MODEL.META_ARCHITECTURE": "ClusterContrast",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.HEADS.NUM_CLASSES": 7,
    "MODEL.LOSSES.NAME": ("ClusterContrastLoss",),
    "MODEL.LOSSES.CLUSTER_CONTRAST.SCALE": 2.0,
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
}
TARGETS = torch.tensor([0, 0, 2, 2])


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build_model(tiny_cfg(KEYS)).train()
    generator = torch.Generator().manual_seed(1)
    features = F.normalize(torch.randn(6, 128, generator=generator), dim=1)
    model.begin_clusters(features, torch.tensor([0, 1, -1, 1, 2, 0]))
    return model


def step(model):
    """Run forward and backward; return the loss and the features (4, 128) it looked at."""
    outputs = {}
    handle = model.heads.register_forward_hook(lambda *call: outputs.update(call[-1]))
    images = torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(2)) * 255
    loss = model({"images": images, "targets": TARGETS})["loss_cluster"]
    loss.backward()
    handle.remove()
    return loss.detach(), outputs["features"].detach()


def test_loss_is_that_of_the_memory_before_the_step_and_of_its_clusters_alone(model):
    before = model.memory.centroids.clone()
    loss, features = step(model)
    assert torch.equal(model.memory.centroids, before)  # neither forward nor backward moved it
    expected = 2 * prototype_contrast_loss(features, before[:3], TARGETS, 0.05)
    torch.testing.assert_close(loss, expected)


def test_memory_moves_after_a_step_that_was_applied(model):
    before = model.memory.centroids.clone()
    _, features = step(model)
    model.end_step(True)
    same = TARGETS[:, None] == TARGETS[None, :]
    moved = sequential_update(before[TARGETS], F.normalize(features, dim=1), same, 0.1)
    torch.testing.assert_close(model.memory.centroids[[0, 2]], moved[[0, 2]])
    assert torch.equal(model.memory.centroids[1], before[1])
    again = model.memory.centroids.clone()
    model.end_step(True)  # a second call has nothing to move it by
    assert torch.equal(model.memory.centroids, again)


def test_memory_stays_after_a_skipped_step_and_in_evaluation(model):
    before = model.memory.centroids.clone()
    step(model)
    model.end_step(False)
    assert torch.equal(model.memory.centroids, before)
    model.eval()({"images": torch.rand(2, 3, 64, 32) * 255})
    model.end_step(True)
    assert torch.equal(model.memory.centroids, before)


def test_classifier_has_no_weights_and_the_memory_no_gradient(model):
    step(model)
    assert model.heads.weight.numel() == 0
    assert model.memory.centroids.grad is None
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_hhcl_contrasts_with_both_memories_and_moves_both():
    keys = {name: value for name, value in KEYS.items() if "CLUSTER_CONTRAST" not in name}
    hhcl = {
        "MODEL.META_ARCHITECTURE": "HHCL",
        "MODEL.LOSSES.NAME": ("HybridContrastLoss",),
        "MODEL.LOSSES.HYBRID_CONTRAST.MEAN_WEIGHT": 0.25,
    }
    torch.manual_seed(0)
    model = build_model(tiny_cfg(keys | hhcl)).train()
    features = F.normalize(torch.randn(6, 128), dim=1)
    model.begin_clusters(features, torch.tensor([0, 1, -1, 1, 2, 0]))
    before = model.memory.hard.used.clone()
    loss, features = step(model)
    contrast = prototype_contrast_loss(features, before, TARGETS, 0.05)
    torch.testing.assert_close(loss, 0.75 * contrast)
    model.end_step(True)
    for memory in (model.memory.hard, model.memory.mean):
        assert (memory.used != before).any(dim=1).tolist() == [True, False, True]
    assert not torch.equal(model.memory.hard.used, model.memory.mean.used)
