"""Clusters of the training images as their labels, made again before every epoch.

The labels are state of the loader, which a checkpoint holds; everything else that an epoch needs
follows from the weights with which it begins. A run killed within an epoch therefore repeats the
epoch exactly.
"""

import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.engine.hooks import HookBase
from fastreid.utils import comm
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor, nn

from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.data.own_sets import unlabelled_names
from fastreid_ext.data.sampling_problems import label_problems
from fastreid_ext.engine.training_features import TrainingFeatures
from fastreid_ext.evaluation.cluster_file import CLUSTERS_FILE, write_clusters
from fastreid_ext.neighbours import (
    ClusterReport,
    cluster_report,
    dbscan_labels,
    disagreement,
    independence_limit,
    jaccard_distances,
    noise_apart,
    reliable_labels,
)
from fastreid_ext.processes import on_main_process

logger = logging.getLogger(__name__)


class PseudoLabels(HookBase):
    """Cluster the training images before every epoch and train on the clusters.

    Jaccard distances of the features and DBSCAN, as ``UNSUPERVISED`` says. Noise is left out of the
    epoch, or each image of it is a class. Identities of the data, where there are some, are
    compared with the clusters in log and metrics; they take no other way out of this class.

    Args:
        cfg: configuration of the run.
        model: model that takes clusters, see
            :func:`~fastreid_ext.modeling.meta_arch.cluster_baseline.takes_clusters`.
    """

    checkpoint_name = "pseudo_labels"
    advice = (  # where clusters cannot be trained on
        "raise or lower UNSUPERVISED.EPS, lower UNSUPERVISED.MIN_SAMPLES, or begin from "
        "pre-trained weights (MODEL.BACKBONE.PRETRAIN_PATH, MODEL.WEIGHTS)"
    )

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        self._cfg = cfg
        self._model = model
        self._report: ClusterReport | None = None
        self._keeps_noise = cfg.UNSUPERVISED.OUTLIERS == "kept"
        self._limit: float | None = None  # of the clusters' independence, set in the first epoch

    def before_train(self) -> None:
        """Build the loader of the training images without augmentation."""
        self._items = self._clustered_items()
        self._cameras, self._camera_names = self._items.dense_camids()
        has_identities = not unlabelled_names(self._cfg)
        self._identities = self._items.dense_pids()[0] if has_identities else None
        self._features = TrainingFeatures(self._cfg, self._model, self._items)

    def before_epoch(self) -> None:
        """Extract features, cluster them, and give the clusters to the loader and the model.

        Between the clusterings of ``UNSUPERVISED.PERIOD`` epochs both keep what they have.

        Raises:
            ValueError: features are not finite, or the first clusters cannot be trained on.
        """
        if self.trainer.epoch % self._cfg.UNSUPERVISED.PERIOD:
            self._model.keep_clusters()
            return
        began = time.perf_counter()
        features = self._finite_features()
        extracted = time.perf_counter()
        # On one process, as another machine might round another way.
        clustered = features[:, 0] if features.ndim == 3 else features
        clusters = on_main_process(
            lambda: self._clusters(clustered), "the clustering of the images"
        )
        report = cluster_report(clusters, self._cameras, self._identities)
        logger.info("epoch %d: %s", self.trainer.epoch, report)
        labels = self._fit_to_train_on(clusters)
        self._train_on(features.cpu(), labels)
        self._report = report
        if comm.is_main_process():
            path = Path(self._cfg.OUTPUT_DIR) / CLUSTERS_FILE
            cameras = [str(self._camera_names[camera]) for camera in self._cameras]
            shown = lone_as_noise(labels) if self._keeps_noise else labels
            write_clusters(path, self._items.paths, shown, cameras, self._identities)
        logger.info(
            "features took %.1f s, clusters %.1f s",
            extracted - began,
            time.perf_counter() - extracted,
        )

    def before_step(self) -> None:
        """Write the figures of the clusters among the metrics of the epoch's first step."""
        if self._report is None:
            return
        values = dataclasses.asdict(self._report).items()
        scalars = {f"clusters/{name}": float(value) for name, value in values if value is not None}
        self.trainer.storage.put_scalars(smoothing_hint=False, **scalars)
        self._report = None

    def after_step(self) -> None:
        """Tell the model whether its weights have changed; it then updates its memory."""
        self._model.end_step(self.trainer.step_applied)

    def state_dict(self) -> dict[str, Any]:
        """Save the limit of the clusters' independence, which the weights do not determine."""
        return {"limit": self._limit}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self._limit = state["limit"]

    def _finite_features(self) -> Tensor:
        has_memory = self.trainer.epoch > 0 and hasattr(self._model, "remembered_features")
        features = self._model.remembered_features() if has_memory else self._features.extract()
        broken = (~features.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
        if broken:
            raise ValueError(
                f"expected finite features of all {len(features)} training images before epoch "
                f"{self.trainer.epoch}, got NaN or infinity for {len(broken)}, the first is "
                f"{self._items.paths[broken[0]]}; training has diverged, or the weights are "
                "damaged: lower SOLVER.BASE_LR, turn SOLVER.AMP off, or check MODEL.WEIGHTS and "
                "MODEL.BACKBONE.PRETRAIN_PATH"
            )
        return F.normalize(features, dim=-1)

    def _clusters(self, features: Tensor) -> NDArray[np.int64]:
        if self.trainer.epoch > 0 and hasattr(self._model, "remembered_labels"):
            return lone_as_noise(self._model.remembered_labels())
        return self._cluster(features)

    def _cluster(self, features: Tensor) -> NDArray[np.int64]:
        keys = self._cfg.UNSUPERVISED
        loosest = keys.EPS + keys.EPS_GAP
        distances = jaccard_distances(features, k1=keys.K1, k2=keys.K2, max_distance=loosest)
        labels = self._clusters_at(distances, keys.EPS)
        if keys.EPS_GAP:
            labels = self._reliable(labels, distances)
        return largest_clusters(labels, self._room())

    def _clustered_items(self) -> ItemArrays:
        """Return the images that are clustered; the methods below belong to them."""
        return self.trainer.data_loader.dataset.img_items

    def _room(self) -> int:
        """Return the largest number of clusters for which the model has room."""
        return self._cfg.MODEL.HEADS.NUM_CLASSES

    def _train_on(self, features: Tensor, labels: NDArray[np.int64]) -> None:
        """Give features (N, D) on the CPU and clusters (N,) to the loader and the model."""
        self.trainer.relabel(self._labels_of_all(labels))
        known = self._known_facts()
        facts = {name: known[name] for name in getattr(self._model, "cluster_facts", ())}
        self._model.begin_clusters(features, torch.from_numpy(labels), **facts)

    def _known_facts(self) -> dict[str, Any]:
        """Collect what a model's ``cluster_facts`` may name."""
        return {
            "cameras": torch.from_numpy(self._cameras.astype(np.int64)),
            "epoch": self.trainer.epoch,
        }

    def _labels_of_all(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels of all training images, of which some may not be clustered."""
        return labels

    def _labels_of_before(self) -> NDArray[np.integer] | None:
        """Return the clusters (N,) of the epoch before; None in the first."""
        return self.trainer.data_loader.labels

    def _clusters_at(self, distances: csr_array, eps: float) -> NDArray[np.int64]:
        return dbscan_labels(distances, eps=eps, min_samples=self._cfg.UNSUPERVISED.MIN_SAMPLES)

    def _reliable(self, labels: NDArray[np.int64], distances: csr_array) -> NDArray[np.int64]:
        """Make noise of clusters that change with eps; the first epoch sets how far they may."""
        keys = self._cfg.UNSUPERVISED
        to_tight = disagreement(labels, self._clusters_at(distances, keys.EPS - keys.EPS_GAP))
        to_loose = disagreement(labels, self._clusters_at(distances, keys.EPS + keys.EPS_GAP))
        if self._limit is None:
            self._limit = independence_limit(labels, to_loose)
        return reliable_labels(labels, to_tight, to_loose, self._limit)

    def _fit_to_train_on(self, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Make labels of clusters, or return those of the epoch before where they fill no batch.

        Raises:
            ValueError: there are none of an epoch before; nothing has been trained then.
        """
        world_size = comm.get_world_size()
        has_clusters = clusters.max(initial=-1) >= 0
        labels = noise_apart(clusters) if self._keeps_noise and has_clusters else clusters
        problems = label_problems(self._cfg, self._items, labels, world_size)
        if not problems:
            return labels
        found = f"the clusters of epoch {self.trainer.epoch} cannot be trained on: " + "; ".join(
            problems
        )
        earlier = self._labels_of_before()
        if earlier is None:
            raise ValueError(f"{found}; {self.advice}")
        logger.warning(
            "%s; those of the epoch before are kept. To change that, %s", found, self.advice
        )
        return earlier


def lone_as_noise(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Make noise, -1, of images (N,) that are a class of their own."""
    return np.where(np.bincount(labels)[labels] > 1, labels, -1)


def largest_clusters(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Keep at most so many clusters, the largest, and make noise of the others.

    Example:
        >>> largest_clusters(np.array([0, 1, 1, 2, 2, 2, -1]), 2)
        array([-1,  0,  0,  1,  1,  1, -1])

    Args:
        labels: (N,) clusters 0 .. C-1, -1 for noise.
        most: number of clusters for which the model has room.

    Returns:
        (N,) clusters in the order of before; of equally large ones those with a smaller number.
    """
    counts = np.bincount(labels[labels >= 0])
    if len(counts) <= most:
        return labels
    logger.warning(
        "%d clusters, but room for MODEL.HEADS.NUM_CLASSES %d: the images of the smallest are left "
        "out of this epoch; raise it in a new run, or raise UNSUPERVISED.MIN_SAMPLES",
        len(counts),
        most,
    )
    kept = np.sort(np.argsort(-counts, kind="stable")[:most])
    renumbered = np.full(len(counts) + 1, -1, np.int64)  # the last one is that of noise, -1
    renumbered[kept] = np.arange(most)
    return renumbered[labels]
