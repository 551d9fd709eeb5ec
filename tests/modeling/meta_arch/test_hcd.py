"""HCD: its two losses from their parts, and when memory and labels change."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model

from fastreid_ext.modeling.losses import cluster_centroids, instance_contrast_loss
from fastreid_ext.neighbours.label_hierarchy import Dynamics, LabelHierarchy

from ...tiny_cfg import tiny_cfg
from .test_spcl import SPCL

SOURCES = 3
IMAGES = 5  # of the source
ROWS = SOURCES + 6
KEYS = SPCL | {
    "MODEL.META_ARCHITECTURE": "HCD",
    "MODEL.HEADS.NUM_CLASSES": ROWS,
    "MODEL.LOSSES.INSTANCE_CONTRAST.SCALE": 1.0,
    "MODEL.HCD.NEIGHBOURS": 6,
    "MODEL.HCD.LINKED": 4,
    "DATASETS.SOURCES": ("DukeMTMC",),
    "DATALOADER.SAMPLER_TRAIN": "LeastUsedSampler",
}
LABELS = np.array([0, 1, 2, 1, 3, 0])
SOURCE_LABELS = torch.tensor([0, 0, 1, 2, 2])
INDICES = torch.tensor([0, 4, IMAGES + 5, IMAGES + 2])
TARGETS = torch.tensor([0, 2, SOURCES + 0, SOURCES + 2])
BATCH_ROWS = [0, 2, SOURCES + 5, SOURCES + 2]


def unit(seed, count):
    return F.normalize(
        torch.randn(count, 128, generator=torch.Generator().manual_seed(seed)), dim=1
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build_model(tiny_cfg(KEYS)).train()
    model.num_sources = SOURCES
    model.num_images = IMAGES + 6
    model.begin_sources(unit(1, IMAGES), SOURCE_LABELS)
    model.begin_clusters(unit(2, 6), torch.from_numpy(LABELS), epoch=0)
    return model


def step(model):
    outputs = {}
    handle = model.heads.register_forward_hook(lambda *call: outputs.update(call[-1]))
    images = torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(3)) * 255
    loss = model({"images": images, "targets": TARGETS, "indices": INDICES})["loss_cluster"]
    loss.backward()
    handle.remove()
    return loss.detach(), outputs["features"].detach()


def labels_of(model):
    return model.sub_labels.tolist(), model.top_labels.tolist()


def test_memory_begins_with_centroids_of_the_source_and_images_of_the_target(model):
    expected = torch.cat([cluster_centroids(unit(1, IMAGES), SOURCE_LABELS), unit(2, 6)])
    torch.testing.assert_close(model.memory.features, expected)
    assert torch.equal(model.remembered_features(), expected[SOURCES:])
    assert model.remembered_labels().tolist() == LABELS.tolist()


def test_loss_is_the_sum_of_those_of_source_and_target(model):
    loss, features = step(model)
    classes = model.memory.classes
    assert classes[:SOURCES].tolist() == [0, 1, 2]
    source = instance_contrast_loss(features[:2], model.memory, classes[[0, 2]], 0.05)
    target = instance_contrast_loss(features[2:], model.memory, classes[BATCH_ROWS[2:]], 0.05)
    torch.testing.assert_close(loss, source + target)


def test_first_epoch_moves_the_rows_of_the_batch_and_keeps_the_labels(model):
    rows = model.memory.features.clone()
    labels = labels_of(model)
    step(model)
    model.end_step(True)
    moved = (model.memory.features != rows).any(dim=1)
    assert moved.nonzero().flatten().tolist() == sorted(BATCH_ROWS)
    assert labels_of(model) == labels


def test_later_epochs_change_the_labels_as_the_hierarchy_does(model):
    model.begin_clusters(model.remembered_features(), torch.from_numpy(LABELS), epoch=1)
    hierarchy = LabelHierarchy.of_clusters(
        LABELS, sources=SOURCES, dynamics=Dynamics(neighbours=6, linked=4)
    )
    step(model)
    model.end_step(True)
    hierarchy.update(model.memory.features, np.array(BATCH_ROWS[2:]))
    assert labels_of(model) == (hierarchy.sub.tolist(), hierarchy.top.tolist())
    assert int(model.fresh_label) == hierarchy.fresh > ROWS
    same = model.memory.classes[:, None] == model.memory.classes[None, :]
    assert torch.equal(same, model.top_labels[:, None] == model.top_labels[None, :])
    assert model.memory.count == len(set(hierarchy.top))


def test_step_that_was_not_applied_changes_nothing(model):
    model.begin_clusters(model.remembered_features(), torch.from_numpy(LABELS), epoch=1)
    before = {name: value.clone() for name, value in model.named_buffers() if "label" in name}
    rows = model.memory.features.clone()
    step(model)
    model.end_step(False)
    assert torch.equal(model.memory.features, rows)
    assert all(
        torch.equal(value, dict(model.named_buffers())[name]) for name, value in before.items()
    )
    assert set(before) == {"sub_labels", "top_labels", "fresh_label"}


def test_memory_of_other_images_is_refused(model):
    with pytest.raises(ValueError, match=r"6 target images of the memory, got 5; set MODEL.HEADS"):
        model.begin_clusters(unit(2, 5), torch.arange(5), epoch=0)
