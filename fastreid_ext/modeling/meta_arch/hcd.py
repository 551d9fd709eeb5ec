"""HCD: a memory of source identities and target images, whose labels change after every step.

[0] Zheng et al., "Online Pseudo Label Generation by Hierarchical Cluster Dynamics for Adaptive
    Person Re-identification", ICCV 2021
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.modeling.losses import cluster_centroids, instance_contrast_loss
from fastreid_ext.modeling.meta_arch.spcl import SpCL
from fastreid_ext.neighbours.label_hierarchy import Dynamics, LabelHierarchy
from fastreid_ext.processes import rows_of_all


@META_ARCH_REGISTRY.register()
class HCD(SpCL):
    """SpCL with a labelled source and with labels in two levels that change step by step.

    The memory has S rows of the source's identities, which are its centroids, and N of the target's
    images. After the first epoch, whose clusters are DBSCAN's, each step changes the labels of its
    target images, and :meth:`remembered_labels` are the clusters of the next epoch. The losses of
    source and target are added.

    Attributes:
        num_sources: number S of identities of the source.
        num_images: number of images of both domains, of which those of the source come first.

    Args:
        dynamics: settings of the changes.
        contrast: keyword arguments of SpCL; the memory has S + N rows.
    """

    cluster_facts = ("epoch",)
    num_sources: int = 0
    num_images: int = 0

    @configurable
    def __init__(self, *, dynamics: Dynamics | None = None, **contrast: Any) -> None:
        super().__init__(**contrast)
        self._dynamics = dynamics or Dynamics()
        self._changes_labels = False
        rows = len(self.memory.features)
        self.register_buffer("sub_labels", torch.arange(rows))
        self.register_buffer("top_labels", torch.arange(rows))
        self.register_buffer("fresh_label", torch.tensor(rows))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the arguments from a configuration."""
        keys = cfg.MODEL.HCD
        return super().from_config(cfg) | {
            "dynamics": Dynamics(
                neighbours=keys.NEIGHBOURS,
                linked=keys.LINKED,
                groups_linked=keys.GROUPS_LINKED,
                floor=keys.FLOOR,
                threshold=keys.THRESHOLD,
                anchors=keys.ANCHORS,
                parts=keys.PARTS,
            )
        }

    @torch.no_grad()
    def begin_sources(self, features: Tensor, labels: Tensor) -> None:
        """Set the rows 0 .. S-1 of the memory to the centroids of the source's identities.

        Args:
            features: (N, D) features of length 1 of all source images, on the CPU.
            labels: (N,) identities 0 .. S-1.
        """
        self.memory.features[: self.num_sources].copy_(cluster_centroids(features, labels))

    @torch.no_grad()
    def begin_clusters(self, features: Tensor, labels: Tensor, epoch: int) -> None:
        """Fill the target's rows and set their labels, in the first epoch alone.

        Args:
            features: (N, D) features of length 1 of all target images.
            labels: (N,) clusters 0 .. C-1, each used.
            epoch: number of the epoch.

        Raises:
            ValueError: the memory has another number of rows.
        """
        self._seen = None
        self._changes_labels = epoch > 0
        if len(features) + self.num_sources != len(self.memory.features):
            raise ValueError(
                f"expected features of the {len(self.memory.features) - self.num_sources} target "
                f"images of the memory, got {len(features)}; set MODEL.HEADS.NUM_CLASSES 0 and "
                "UNSUPERVISED.OUTLIERS kept"
            )
        if epoch == 0:
            self.memory.features[self.num_sources :].copy_(features)
            self._keep(
                LabelHierarchy.of_clusters(
                    labels.cpu().numpy(), sources=self.num_sources, dynamics=self._dynamics
                )
            )
        self._set_classes()

    def remembered_features(self) -> Tensor:
        """Return the rows (N, D) of the target's images."""
        return self.memory.features[self.num_sources :]

    def remembered_labels(self) -> np.ndarray:
        """Return the clusters (N,) of the target's images, counted from 0; none is noise."""
        return self._hierarchy().clusters()

    def remembered(self) -> dict[str, Any]:
        """Collect the state that a resumed run needs beside the weights: none."""
        return {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`remembered` has returned."""

    def rows_of_memory(self, targets: Tensor) -> Tensor:
        """Return the rows (B,) of the batch: identities of its first half, images of the other."""
        source = targets[: len(targets) // 2]
        first_row = len(self.memory.features) - self.num_images  # of the first image of all
        target = self._indices[len(source) :] + first_row
        return torch.cat([source, target])

    def contrast(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the sum of the losses of both halves of features (B, D)."""
        classes = self.memory.classes[self.rows_of_memory(targets)]
        halves = zip(features.chunk(2), classes.chunk(2), strict=True)
        return sum(
            instance_contrast_loss(half, self.memory, of_half, self.temperature)
            for half, of_half in halves
        )

    @torch.no_grad()
    def end_step(self, is_applied: bool) -> None:
        """Move the memory by the features of the step, then change the labels of its images.

        Args:
            is_applied: whether the step has changed the weights; if not, nothing changes.
        """
        seen = self._seen
        super().end_step(is_applied)
        if not is_applied or seen is None or not self._changes_labels:
            return
        rows = rows_of_all(seen[1]).cpu().numpy()
        hierarchy = self._hierarchy()
        hierarchy.update(self.memory.features, rows[rows >= self.num_sources])
        self._keep(hierarchy)
        self._set_classes()

    def _hierarchy(self) -> LabelHierarchy:
        return LabelHierarchy(
            self.sub_labels.cpu().numpy(),
            self.top_labels.cpu().numpy(),
            sources=self.num_sources,
            fresh=int(self.fresh_label),
            dynamics=self._dynamics,
        )

    def _keep(self, hierarchy: LabelHierarchy) -> None:
        self.sub_labels.copy_(torch.from_numpy(hierarchy.sub))
        self.top_labels.copy_(torch.from_numpy(hierarchy.top))
        self.fresh_label.fill_(hierarchy.fresh)

    def _set_classes(self) -> None:
        """Number the clusters of all rows from 0, as the loss wants them."""
        kinds, classes = self.top_labels.unique(return_inverse=True)
        self.memory.classes.copy_(classes)
        self.memory.count = len(kinds)
