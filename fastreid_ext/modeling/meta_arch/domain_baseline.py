"""Baseline that learns from a labelled source and from clusters of an unlabelled target.

Letters: N images, D feature dimension, S identities of the source, C clusters, B batch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from fastreid.modeling.losses import triplet_loss
from fastreid.modeling.losses.cross_entroy_loss import log_accuracy
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.modeling.losses import cluster_centroids, smoothed_cross_entropy
from fastreid_ext.modeling.meta_arch.cluster_baseline import ClusterBaseline


def takes_sources(architecture: type) -> bool:
    """Tell whether an architecture learns from a labelled source beside clusters of a target.

    To what :func:`~fastreid_ext.modeling.meta_arch.cluster_baseline.takes_clusters` says, it adds
    the attribute ``num_sources``, which the trainer sets to S before all else;
    ``begin_sources(features, labels)``, called once in a run with the features (N, D) of length 1
    of the source images and their identities (N,); and ``remembered()`` and ``remember(state)``,
    for a checkpoint. Batches are [source; target] in equal parts; clusters are labels from S on.
    """
    return hasattr(architecture, "begin_sources")


@META_ARCH_REGISTRY.register()
class DomainBaseline(ClusterBaseline):
    """ClusterBaseline with rows of the classifier for the identities of a source.

    The source's rows begin a run as the centroids of its identities and are trained from then on;
    the clusters' rows begin each epoch as their centroids. Labels are smoothed as in the paper of
    label smoothing: the share epsilon is spread over all S + C classes.

    Attributes:
        num_sources: number S of identities of the source.
        num_clusters: number S + C of classes; None before the first clustering.
    """

    num_sources: int = 0

    @torch.no_grad()
    def begin_sources(self, features: Tensor, labels: Tensor) -> None:
        """Set the rows 0 .. S-1 of the classifier to the centroids of the source's identities.

        Args:
            features: (N, D) features of length 1 of all source images, on the CPU.
            labels: (N,) identities 0 .. S-1.
        """
        self.heads.weight[: self.num_sources].copy_(cluster_centroids(features, labels))

    @torch.no_grad()
    def begin_clusters(self, features: Tensor, labels: Tensor) -> None:
        """Set the rows from S on to the centroids (C, D) of the clusters, and clear those after.

        Args:
            features: (N, D) features of length 1 of all target images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
        """
        centroids = cluster_centroids(features, labels)
        self.num_clusters = self.num_sources + len(centroids)
        rows = self.heads.weight
        rows[self.num_sources :].zero_()
        rows[self.num_sources : self.num_clusters].copy_(centroids)

    def remembered(self) -> dict[str, Any]:
        """Collect the state that a resumed run needs beside the weights: none."""
        return {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`remembered` has returned."""

    def losses(self, outputs: Mapping[str, Any], gt_labels: Tensor) -> dict[str, Tensor]:
        """Compute the losses that ``MODEL.LOSSES.NAME`` names, over source and target together.

        Args:
            outputs: outputs of the head in training.
            gt_labels: classes (B,) of the images.
        """
        logits = outputs["cls_outputs"][:, : self.num_clusters]
        log_accuracy(logits.detach(), gt_labels)
        losses = {}
        names = self.loss_kwargs["loss_names"]
        if "CrossEntropyLoss" in names:
            losses["loss_cls"] = self.classification_loss(logits, gt_labels)
        if "TripletLoss" in names:
            losses["loss_triplet"] = self.loss_of_triplets(outputs["features"], gt_labels)
        return losses

    def classification_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the weighted cross-entropy of logits (B, S + C)."""
        keys = self.loss_kwargs["ce"]
        return keys["scale"] * smoothed_cross_entropy(logits, targets, keys["eps"])

    def loss_of_triplets(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the weighted triplet loss of features (B, D), as ``MODEL.LOSSES.TRI`` says."""
        keys = self.loss_kwargs["tri"]
        options = (keys["margin"], keys["norm_feat"], keys["hard_mining"])
        return keys["scale"] * triplet_loss(features, targets, *options)
