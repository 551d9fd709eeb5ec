"""Several clusterings of a target at once, of different sizes: GLT."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.engine.curriculum_labels import renumbered
from fastreid_ext.engine.domain_labels import DomainPseudoLabels
from fastreid_ext.engine.training_features import TrainingFeatures
from fastreid_ext.neighbours.jaccard import unit_features
from fastreid_ext.neighbours.kmeans import kmeans_labels
from fastreid_ext.processes import on_main_process


class GroupLabels(DomainPseudoLabels):
    """Cluster the target by k-means of several sizes, and refine these labels before each epoch.

    ``MODEL.GLT.CLUSTERS`` has the sizes. From the second epoch on the model gives the labels
    itself, in ``refined_groups(features)`` of shape (M, N). Batches are made of the labels of the
    group ``MODEL.GLT.CHOSEN``. The labels of an epoch follow from the weights with which it begins.
    """

    advice = "raise MODEL.GLT.CLUSTERS at the place MODEL.GLT.CHOSEN"

    def _finite_features(self) -> Tensor:
        features = super()._finite_features()
        is_first = self.trainer.epoch == 0
        clustered = self._first_features(features) if is_first else features
        build = self._kmeans if is_first else self._model.refined_groups
        self._groups: NDArray[np.int64] = on_main_process(
            lambda: build(clustered), "the clustering of the images"
        )
        return features

    def _first_features(self, features: Tensor) -> Tensor:
        """Extract the features (N, D) of the run before, where there is one."""
        path = self._cfg.MODEL.GLT.PREVIOUS_RUN
        if not path:
            return features
        from fastreid_ext.engine.run import load_model  # it imports the trainer

        model = load_model(self._cfg, path).to(features.device)
        return unit_features(TrainingFeatures(self._cfg, model, self._items).extract())

    def _kmeans(self, features: Tensor) -> NDArray[np.int64]:
        keys = self._cfg.MODEL.GLT
        seed = max(self._cfg.SEED, 0)
        return np.stack(
            [kmeans_labels(features, size, starts=keys.STARTS, seed=seed) for size in keys.CLUSTERS]
        )

    def _clusters(self, features: Tensor) -> NDArray[np.int64]:
        return renumbered(self._groups[self._cfg.MODEL.GLT.CHOSEN])

    def _known_facts(self) -> dict[str, Any]:
        return {**super()._known_facts(), "groups": torch.from_numpy(self._groups)}
