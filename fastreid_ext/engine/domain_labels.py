"""Clusters of an unlabelled target as labels beside the identities of a labelled source."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.domains import labels_of_both
from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.engine.pseudo_labels import PseudoLabels
from fastreid_ext.engine.training_features import TrainingFeatures
from fastreid_ext.neighbours.jaccard import unit_features

logger = logging.getLogger(__name__)


class DomainPseudoLabels(PseudoLabels):
    """Cluster the images of ``DATASETS.NAMES``, the target; those of SOURCES keep their labels.

    The model, see
    :func:`~fastreid_ext.modeling.meta_arch.domain_baseline.takes_sources`, gets the features of the
    source images once, before the first epoch of a run. What it remembers from step to step, such
    as a bank of features, is in the checkpoint.
    """

    def before_train(self) -> None:
        """Build the loaders, and tell the model the identities of the source.

        Raises:
            ValueError: the classifier has no room for two clusters.
        """
        super().before_train()
        dataset = self.trainer.data_loader.dataset
        self._source_labels = dataset.source_labels
        self._model.num_sources = int(self._source_labels.max()) + 1
        self._model.num_images = len(dataset)
        if self._room() < 2:
            raise ValueError(
                f"expected MODEL.HEADS.NUM_CLASSES with room for the {self._model.num_sources} "
                "identities of DATASETS.SOURCES and for two clusters, got "
                f"{self._cfg.MODEL.HEADS.NUM_CLASSES}; 0 is as many as there may be"
            )
        items = dataset.img_items.take(np.arange(len(self._source_labels)))
        self._source_features = TrainingFeatures(self._cfg, self._model, items, name="source")
        if self.trainer.start_epoch == 0:
            features = self.extract_source().cpu()
            self._model.begin_sources(features, torch.from_numpy(self._source_labels))

    def extract_source(self) -> Tensor:
        """Extract the features (N, D), of length 1, of all source images with the current weights.

        Raises:
            ValueError: a feature is not finite.
        """
        features = self._source_features.extract()
        if not features.isfinite().all():
            raise ValueError(
                "expected finite features of the images of DATASETS.SOURCES, got NaN or infinity; "
                "check MODEL.WEIGHTS and MODEL.BACKBONE.PRETRAIN_PATH"
            )
        return unit_features(features)

    def state_dict(self) -> dict[str, Any]:
        """Save the state of the clusters and of the model that its weights do not determine."""
        return {**super().state_dict(), "model": self._model.remembered()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give the model back what it remembered."""
        super().load_state_dict(state)
        super().load_state_dict(state)
        self._model.remember(state["model"])

    def _clustered_items(self) -> ItemArrays:
        dataset = self.trainer.data_loader.dataset
        return dataset.img_items.take(np.arange(len(dataset.source_labels), len(dataset)))

    def _room(self) -> int:
        return self._cfg.MODEL.HEADS.NUM_CLASSES - self._model.num_sources

    def _labels_of_all(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return labels_of_both(self._source_labels, labels)

    def _labels_of_before(self) -> NDArray[np.integer] | None:
        labels = super()._labels_of_before()
        if labels is None:
            return None
        clusters = labels[len(self._source_labels) :]
        return np.where(clusters < 0, -1, clusters - self._model.num_sources)
