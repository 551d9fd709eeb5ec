"""ClusterBaseline: rows of the classifier follow the clusters of an epoch."""

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.modeling.losses import cluster_centroids

from ...tiny_cfg import tiny_cfg

KEYS = {
    "UNSUPERVISED.ENABLED": True,
    "MODEL.META_ARCHITECTURE": "ClusterBaseline",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NUM_CLASSES": 7,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
}
LABELS = torch.tensor([0, 1, -1, 1, 2, 0])


@pytest.fixture
def features():
    return F.normalize(torch.randn(6, 128, generator=torch.Generator().manual_seed(1)), dim=1)


def test_centroids_are_normalised_means_of_each_cluster(features):
    expected = [features[LABELS == cluster].mean(dim=0) for cluster in range(3)]
    expected = torch.stack([mean / mean.norm() for mean in expected])
    torch.testing.assert_close(cluster_centroids(features, LABELS), expected)


def test_rows_beyond_the_clusters_take_no_part_in_the_loss(features):
    torch.manual_seed(0)
    model = build_model(tiny_cfg(KEYS)).train()
    model.begin_clusters(features, LABELS)
    rows = model.heads.weight
    assert torch.equal(rows[:3].detach(), cluster_centroids(features, LABELS))
    assert not rows[3:].any()
    images = {"images": torch.rand(4, 3, 64, 32) * 255, "targets": torch.tensor([0, 0, 2, 2])}
    outputs = {}
    model.heads.register_forward_hook(lambda *call: outputs.update(call[-1]))
    with EventStorage():
        loss = model(images)["loss_cls"]
    logits = outputs["cls_outputs"][:, :3]
    torch.testing.assert_close(loss, F.cross_entropy(logits, images["targets"]))
    loss.backward()
    assert rows.grad[:3].any()
    assert not rows.grad[3:].any()
    # Fewer clusters in the next epoch: the third row is cleared.
    model.begin_clusters(features, LABELS.clamp(max=1))
    assert not rows[2:].any()
