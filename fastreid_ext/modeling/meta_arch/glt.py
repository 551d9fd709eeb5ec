"""GLT: classifiers for clusterings of several sizes, whose labels a transport plan refines.

    L = mean over groups of L_id + L_triplet

L_id: cross-entropy of the target images with the labels of a group. L_triplet: triplets of the
labels of one group, on the pooled features. Source images have no loss; they pass through the model
for their batch normalisation. Before each epoch but the first the labels of every group are those
of :func:`~fastreid_ext.neighbours.optimal_transport.transported_labels` of the teacher's
predictions.

The released code trains the classifier of one group alone; this is the form of its first version.

Letters: B batch, D feature dimension, M groups, K clusters of a group, N target images.

[0] Zheng et al., "Group-aware Label Transfer for Domain Adaptive Person Re-identification", CVPR
    2021, https://arxiv.org/abs/2103.12366
[1] its code, https://github.com/zkcys001/UDAStrongBaseline
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.modeling.losses.cross_entroy_loss import log_accuracy
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from numpy.typing import NDArray
from torch import Tensor, nn

from fastreid_ext.modeling.losses import cluster_centroids, smoothed_cross_entropy
from fastreid_ext.modeling.meta_arch.mean_teacher import MeanTeacher, outputs_of
from fastreid_ext.neighbours.optimal_transport import transported_labels


@META_ARCH_REGISTRY.register()
class GLT(MeanTeacher):
    """MeanTeacher with a classifier for each group, ``heads.groups``.

    The rows of the classifiers begin as the centroids of the first clusters, and go on from epoch
    to epoch, as a refined label is a row.

    Attributes:
        groups: (M, N) labels of the target images; empty before the first clustering.

    Args:
        sizes: number K of clusters of each group.
        chosen: place of the group whose labels the triplets have.
        sharpness: exponent lambda > 0 of the predictions in the transport plan.
        dropout: share in [0, 1) of the features behind the neck that a classifier does not see.
        teacher: keyword arguments of MeanTeacher.
    """

    cluster_facts = ("groups", "epoch")
    groups: Tensor

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[int],
        chosen: int = 0,
        sharpness: float = 25.0,
        dropout: float = 0.2,
        **teacher: Any,
    ) -> None:
        heads = teacher["heads"]
        width = heads.weight.shape[1]
        # The classifier of all classes would be weights without a gradient.
        heads.weight = nn.Parameter(heads.weight.new_zeros(0, width), requires_grad=False)
        heads.groups = nn.ParameterList(0.001 * torch.randn(size, width) for size in sizes)
        super().__init__(**teacher)
        self.chosen = chosen
        self.sharpness = sharpness
        self.dropout = dropout
        # They follow from the weights with which an epoch begins.
        empty = torch.zeros(len(sizes), 0, dtype=torch.long)
        self.register_buffer("groups", empty, persistent=False)
        self._indices: Tensor | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.GLT
        return super().from_config(cfg) | {
            "sizes": keys.CLUSTERS,
            "chosen": keys.CHOSEN,
            "sharpness": keys.SHARPNESS,
            "dropout": keys.DROPOUT,
            "momentum": keys.MOMENTUM,
        }

    def begin_sources(self, features: Tensor, labels: Tensor) -> None:
        """Do nothing: the source has no loss."""

    @torch.no_grad()
    def begin_clusters(self, features: Tensor, labels: Tensor, groups: Tensor, epoch: int) -> None:
        """Set the labels of an epoch, and before the first one the rows of all classifiers.

        Args:
            features: (N, D) features of length 1 of all target images, on the CPU.
            labels: (N,) clusters that the batches have.
            groups: (M, N) labels of each group.
            epoch: number of the epoch.
        """
        self.groups = groups.to(self.device)
        if epoch > 0:
            return
        for heads in (self.heads, self.teacher_heads):
            for rows, own in zip(heads.groups, groups, strict=True):
                centroids = cluster_centroids(features, own)
                rows.zero_()
                rows[: len(centroids)].copy_(centroids)

    @torch.no_grad()
    def refined_groups(self, features: Tensor) -> NDArray[np.int64]:
        """Choose labels of all target images by the teacher's predictions, in each group.

        Args:
            features: (N, D) features of length 1, in the order of the images.

        Returns:
            (M, N) labels; a label is a row of the classifier of its group.
        """
        return np.stack(
            [
                transported_labels(
                    F.softmax((features @ rows.T).double(), dim=1).T.cpu().numpy(),
                    sharpness=self.sharpness,
                )
                for rows in self.teacher_heads.groups
            ]
        )

    def forward(self, batched_inputs: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Compute the losses of a batch with ``indices``, or the teacher's features (B, D)."""
        if self.training:
            self._indices = batched_inputs["indices"]
        return super().forward(batched_inputs)

    def losses_of(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the losses of the target among normalised images [source; target]."""
        student = outputs_of(self.backbone, self.heads, images)
        pooled = student.pooled.chunk(2)[1]
        neck = F.dropout(student.neck.chunk(2)[1], self.dropout)
        first_row = self.num_images - self.groups.shape[1]  # of the target among all images
        labels = self.groups[:, self._indices.chunk(2)[1] - first_row]
        logits = [F.linear(neck, rows) for rows in self.heads.groups]
        log_accuracy(logits[self.chosen].detach(), labels[self.chosen])
        losses = {"loss_cls": self._of_groups(logits, labels)}
        if "TripletLoss" in self.loss_kwargs["loss_names"]:
            losses["loss_triplet"] = self.loss_of_triplets(pooled, targets.chunk(2)[1])
        return losses

    def _of_groups(self, logits: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Average the cross-entropies of the groups."""
        keys = self.loss_kwargs["ce"]
        losses = [
            smoothed_cross_entropy(own, of_group, keys["eps"])
            for own, of_group in zip(logits, labels, strict=True)
        ]
        return keys["scale"] * torch.stack(losses).mean()
