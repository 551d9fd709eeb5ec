"""Baseline that learns from a labelled source and from clusters of an unlabelled target.

Letters: N images, D feature dimension, S identities of the source, C clusters, B batch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.losses import triplet_loss
from fastreid.modeling.losses.cross_entroy_loss import log_accuracy
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.modeling.losses import (
    FeatureBank,
    bank_triplet_loss,
    cluster_centroids,
    smoothed_cross_entropy,
)
from fastreid_ext.modeling.meta_arch.cluster_baseline import ClusterBaseline
from fastreid_ext.processes import rows_of_all

BANK_TRIPLET = "BankTripletLoss"


def takes_sources(architecture: type) -> bool:
    """Tell whether an architecture learns from a labelled source beside clusters of a target.

    To what :func:`~fastreid_ext.modeling.meta_arch.cluster_baseline.takes_clusters` says, it adds
    the attributes ``num_sources`` and ``num_images``, which the trainer sets to S and to the number
    of images of both domains before all else; ``begin_sources(features, labels)``, called once in a
    run with the features (N, D) of length 1 of the source images and their identities (N,); and
    ``remembered()`` and ``remember(state)``, for a checkpoint. Batches are [source; target] in
    equal parts; clusters are labels from S on.
    """
    return hasattr(architecture, "begin_sources")


@META_ARCH_REGISTRY.register()
class DomainBaseline(ClusterBaseline):
    """ClusterBaseline with rows of the classifier for the identities of a source.

    The source's rows begin a run as the centroids of its identities and are trained from then on;
    the clusters' rows begin each epoch as their centroids. Labels are smoothed as in the paper of
    label smoothing: the share epsilon is spread over all S + C classes.

    With ``BankTripletLoss`` each image also has its hardest triplet among the features of past
    batches (:class:`~fastreid_ext.modeling.losses.FeatureBank`), the present one included.

    Attributes:
        num_sources: number S of identities of the source.
        num_images: number of training images of source and target.
        num_clusters: number S + C of classes; None before the first clustering.
        bank: features of past batches; None without the loss, or before the first clustering.

    Args:
        bank_keys: size, margin and weight of the bank, as in ``MODEL.LOSSES.BANK_TRIPLET``.
        baseline: keyword arguments of fastreid's Baseline.
    """

    num_sources: int = 0
    num_images: int = 0

    @configurable
    def __init__(self, *, bank_keys: Mapping[str, Any], **baseline: Any) -> None:
        super().__init__(**baseline)
        self.bank: FeatureBank | None = None
        self._bank_keys = dict(bank_keys)
        self._has_bank = BANK_TRIPLET in self.loss_kwargs["loss_names"]
        self._seen: tuple[Tensor, Tensor] | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        return super().from_config(cfg) | {"bank_keys": cfg.MODEL.LOSSES.BANK_TRIPLET}

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
        self._seen = None
        if self._has_bank:
            self._begin_bank(rows)

    def _begin_bank(self, rows: Tensor) -> None:
        """Build the bank, or forget the clusters in it, whose numbers have changed."""
        keys = self._bank_keys
        if self.bank is None:
            entries = max(round(keys["RATIO"] * self.num_images), 1)
            self.bank = FeatureBank(entries, rows.shape[1], rows.device)
        elif keys["CLEAN"]:
            self.bank.keep_below(self.num_sources)

    def remembered(self) -> dict[str, Any]:
        """Collect the state that a resumed run needs beside the weights."""
        return {} if self.bank is None else {"bank": self.bank.state_dict()}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`remembered` has returned."""
        if "bank" in state:
            self.bank = FeatureBank.of_state(state["bank"], self.device)

    def end_step(self, is_applied: bool) -> None:
        """Write the features of the step to the bank, if it has changed the weights.

        Args:
            is_applied: whether the step has changed the weights.
        """
        if is_applied and self._seen is not None:
            self.bank.push(*self._seen)
        self._seen = None

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
            losses |= self.classification_losses(logits, gt_labels)
        if "TripletLoss" in names:
            losses["loss_triplet"] = self.loss_of_triplets(outputs["features"], gt_labels)
        if self._has_bank:
            losses["loss_bank_triplet"] = self.loss_of_bank(outputs["features"], gt_labels)
        return losses

    def classification_losses(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the weighted cross-entropy of logits (B, S + C), by its name among the losses."""
        keys = self.loss_kwargs["ce"]
        loss = smoothed_cross_entropy(logits, targets, keys["eps"])
        return {"loss_cls": keys["scale"] * loss}

    def loss_of_triplets(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the weighted triplet loss of features (B, D), as ``MODEL.LOSSES.TRI`` says."""
        keys = self.loss_kwargs["tri"]
        options = (keys["margin"], keys["norm_feat"], keys["hard_mining"])
        return keys["scale"] * triplet_loss(features, targets, *options)

    def loss_of_bank(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the weighted triplet loss against the bank as it will be with this batch."""
        self._seen = (rows_of_all(features.detach()), rows_of_all(targets))
        staying = [] if self.bank is None else self.bank.staying(len(self._seen[1]))
        keys = self._bank_keys
        entries = [self._seen, *staying]
        return keys["SCALE"] * bank_triplet_loss(features, targets, entries, keys["MARGIN"])
