"""fastreid's evaluator with counted ranks instead of a sorted distance matrix."""

import itertools
import logging
from collections import OrderedDict

import numpy as np
import torch
from fastreid.evaluation import ReidEvaluator
from fastreid.evaluation.query_expansion import aqe
from fastreid.evaluation.roc import evaluate_roc
from fastreid.utils import comm
from fastreid.utils.compute_dist import build_dist
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.evaluation.ranking import RankMetrics, rank_distances, rank_metrics

logger = logging.getLogger(__name__)


class CountingEvaluator(ReidEvaluator):
    """Drop-in for :class:`ReidEvaluator`: same keys, same numbers, no compiled Cython.

    Results are percentages: Rank-1, Rank-5, Rank-10, mAP (fastreid's rule), mINP, and ``metric``,
    the mean of Rank-1 and mAP that chooses the best checkpoint; with TEST.ROC, as in fastreid, also
    true positive rates in [0, 1]. A distance matrix (Q x G) is built only for TEST.RERANK and
    TEST.ROC.
    """

    def evaluate(self) -> OrderedDict[str, float]:
        """Gather all ranks' features and return the metrics on the main process, else {}."""
        predictions = self._predictions
        if comm.get_world_size() > 1:
            comm.synchronize()
            predictions = list(itertools.chain(*comm.gather(predictions, dst=0)))
            if not comm.is_main_process():
                return OrderedDict()
        if not predictions:
            raise ValueError(
                "expected at least one query and one gallery image, got an empty test set; is the "
                "right folder given as the data set?"
            )
        features, pids, camids = (
            torch.cat([prediction[key] for prediction in predictions])
            for key in ("feats", "pids", "camids")
        )
        query, gallery = self._expanded(features[: self._num_query], features[self._num_query :])
        labels = [
            part for ids in (pids.numpy(), camids.numpy()) for part in np.split(ids, [len(query)])
        ]
        return self._results_of(query, gallery, labels)

    def _expanded(self, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        settings = self.cfg.TEST.AQE
        if not settings.ENABLED:
            return query, gallery
        logger.info("Test with AQE setting")
        return aqe(query, gallery, settings.QE_TIME, settings.QE_K, settings.ALPHA)

    def _results_of(
        self, query: Tensor, gallery: Tensor, labels: list[NDArray[np.int64]]
    ) -> OrderedDict[str, float]:
        if not (self.cfg.TEST.RERANK.ENABLED or self.cfg.TEST.ROC.ENABLED):
            metrics = rank_metrics(query, gallery, *labels, metric=self.cfg.TEST.METRIC)
            return _as_results(metrics)
        distances = self._distance_matrix(query, gallery)
        results = _as_results(rank_distances(distances, *labels))
        if self.cfg.TEST.ROC.ENABLED:
            results.update(_true_positive_rates(distances, labels))
        return results

    def _distance_matrix(self, query: Tensor, gallery: Tensor) -> NDArray[np.float32]:
        metric, rerank = self.cfg.TEST.METRIC, self.cfg.TEST.RERANK
        distances = build_dist(query, gallery, metric)
        if not rerank.ENABLED:
            return distances
        logger.info("Test with rerank setting")
        if metric == "cosine":
            query, gallery = F.normalize(query, dim=1), F.normalize(gallery, dim=1)
        jaccard = build_dist(query, gallery, metric="jaccard", k1=rerank.K1, k2=rerank.K2)
        return jaccard * (1 - rerank.LAMBDA) + distances * rerank.LAMBDA


def _as_results(metrics: RankMetrics) -> OrderedDict[str, float]:
    results = OrderedDict(metrics.percentages())
    results["metric"] = (results["mAP"] + results["Rank-1"]) / 2
    return results


def _true_positive_rates(
    distances: NDArray[np.float32], labels: list[NDArray[np.int64]]
) -> dict[str, float]:
    query_pids, gallery_pids, query_camids, gallery_camids = labels
    scores, is_match = evaluate_roc(
        distances, query_pids, gallery_pids, query_camids, gallery_camids
    )
    false_positive_rate, true_positive_rate, _ = roc_curve(is_match, scores)
    return {
        f"TPR@FPR={rate:.0e}": float(
            true_positive_rate[np.abs(false_positive_rate - rate).argmin()]
        )
        for rate in (1e-4, 1e-3, 1e-2)
    }
