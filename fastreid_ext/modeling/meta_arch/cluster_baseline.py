"""Baseline that learns from clusters, whose number and meaning change before every epoch.

Letters: N training images, D feature dimension, C clusters, B batch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.baseline import Baseline
from torch import Tensor

from fastreid_ext.modeling.losses import cluster_centroids


def takes_clusters(architecture: type) -> bool:
    """Tell whether an architecture learns from clusters.

    It has two methods for the trainer: ``begin_clusters(features, labels)``, called before each
    epoch with the features (N, D) of length 1 of all training images and their clusters (N,), on
    the CPU, and ``end_step(is_applied)``, called after each step with whether weights changed. Its
    ``MODEL.HEADS.NUM_CLASSES`` is the largest number of clusters. An attribute ``cluster_facts``
    names further arguments of ``begin_clusters``: ``cameras``, the camera (N,) of each image,
    counted from 0 as in the batches, ``epoch``, the number of the epoch, and ``groups``, for an
    architecture with ``refined_groups(features)``: several labels (M, N) of each image.

    A method ``training_features`` of a batch replaces the forward pass of evaluation; it may return
    several features (B, S, D) of each image, of which the first is clustered and ``begin_clusters``
    gets all, (N, S, D). Where an architecture has ``remembered_features()``, these (N, D) are
    clustered from the second epoch on, and images are not looked at again. With
    ``remembered_labels()`` nothing is clustered then: these (N,) are the clusters. With
    ``UNSUPERVISED.PERIOD`` above 1, ``keep_clusters()`` is called before the epochs between two
    clusterings; what the model remembers of its clusters must be in checkpoints.
    """
    return hasattr(architecture, "begin_clusters")


@META_ARCH_REGISTRY.register()
class ClusterBaseline(Baseline):
    """fastreid's Baseline with clusters in place of identities.

    The rows of the classifier begin each epoch as the centroids of the clusters. Rows beyond the
    clusters are zero and take no part in the loss.

    Attributes:
        num_clusters: number C of clusters; None before the first clustering, where all rows count.
    """

    num_clusters: int | None = None

    @torch.no_grad()
    def begin_clusters(self, features: Tensor, labels: Tensor) -> None:
        """Set the rows of the classifier to the centroids (C, D) of the clusters.

        Args:
            features: (N, D) features of length 1 of all training images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
        """
        centroids = cluster_centroids(features, labels)
        self.num_clusters = len(centroids)
        rows = self.heads.weight
        rows.zero_()
        rows[: self.num_clusters].copy_(centroids)

    def end_step(self, is_applied: bool) -> None:
        """Do nothing after a step; the classifier is the optimizer's."""

    def losses(self, outputs: Mapping[str, Any], gt_labels: Tensor) -> dict[str, Tensor]:
        """Compute fastreid's losses of the logits (B, C) of the clusters.

        Args:
            outputs: outputs of the head in training.
            gt_labels: clusters (B,) of the images.
        """
        logits = ("cls_outputs", "pred_class_logits")
        own = {name: outputs[name][:, : self.num_clusters] for name in logits}
        return super().losses({**outputs, **own}, gt_labels)
