"""Clusters of a target whose cameras join one after the other: CaCL's curriculum."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor, nn

from fastreid_ext.engine.camera_curriculum import (
    nearest_camera,
    sample_rows,
    stage_lengths,
    stage_of,
)
from fastreid_ext.engine.domain_labels import DomainPseudoLabels
from fastreid_ext.processes import on_main_process

logger = logging.getLogger(__name__)


class CurriculumLabels(DomainPseudoLabels):
    """Cluster the images of the active cameras; each stage adds the nearest of the others.

    ``UNSUPERVISED.CURRICULUM`` says how long stages are and what is near. Images of cameras that
    are not active yet are left out as noise is. The order of the cameras is in the checkpoint.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        super().__init__(cfg, model)
        self._order: list[str] = []  # names of the cameras that have joined, or will

    def before_train(self) -> None:
        """Build the loaders and divide the epochs among stages."""
        super().before_train()
        self._names = [str(name) for name in self._camera_names]
        share = self._cfg.UNSUPERVISED.CURRICULUM.EARLY_SHARE
        self._lengths = stage_lengths(len(self._names), self.trainer.max_epoch, share)

    def state_dict(self) -> dict[str, Any]:
        """Collect the cameras that were chosen so far beside the state of the clusters."""
        return {**super().state_dict(), "cameras": list(self._order)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self._order = list(state["cameras"])

    @property
    def active(self) -> NDArray[np.bool_]:
        """(N,) bool, whether the camera of each target image is active in the present epoch."""
        stage = stage_of(self.trainer.epoch, self._lengths)
        places = [self._names.index(name) for name in self._order[: stage + 1]]
        return np.isin(self._cameras, places)

    def _finite_features(self) -> Tensor:
        features = super()._finite_features()
        stage = stage_of(self.trainer.epoch, self._lengths)
        if len(self._order) <= stage:
            self._extend_order(features, stage)
        logger.info(
            "stage %d of %d, cameras %s: %d of %d images of the target",
            stage + 1,
            len(self._names),
            ", ".join(self._order[: stage + 1]),
            self.active.sum(),
            len(features),
        )
        return features

    def _extend_order(self, features: Tensor, stage: int) -> None:
        """Choose the next camera, or all of them where the order is fixed."""
        source = self.extract_source()
        keys = self._cfg.UNSUPERVISED.CURRICULUM
        count = len(self._names) if keys.ORDER == "fixed" else stage + 1
        self._order = on_main_process(
            lambda: self._extended(source, features, count), "the choice of cameras"
        )

    def _extended(self, source: Tensor, features: Tensor, count: int) -> list[str]:
        keys = self._cfg.UNSUPERVISED.CURRICULUM
        sampled = {
            camera: sample_rows(features[np.flatnonzero(self._cameras == camera)], keys.IMAGES, 0)
            for camera in range(len(self._names))
        }
        source = sample_rows(source, keys.IMAGES, 0)
        order = [self._names.index(name) for name in self._order]
        while len(order) < count:
            order.append(nearest_camera(source, sampled, order, kernel=keys.KERNEL))
        return [self._names[camera] for camera in order]

    def _cluster(self, features: Tensor) -> NDArray[np.int64]:
        active = self.active
        if self._cfg.UNSUPERVISED.CURRICULUM.CLUSTERED == "all":
            return renumbered(np.where(active, super()._cluster(features), -1))
        labels = np.full(len(features), -1, np.int64)
        labels[active] = super()._cluster(features[np.flatnonzero(active)])
        return labels


def renumbered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the clusters that are left from 0 on, in their order.

    Example:
        >>> renumbered(np.array([4, -1, 2, 4])).tolist()
        [1, -1, 0, 1]

    Args:
        labels: (N,) clusters, some of which may have no image; -1 for noise.
    """
    used, places = np.unique(labels, return_inverse=True)
    return places - int(used[0] == -1)
