"""Evaluator that counts ranks instead of sorting a distance matrix as fastreid's does."""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from fastreid.evaluation import ReidEvaluator
from fastreid.evaluation.roc import evaluate_roc
from fastreid.utils import comm
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.evaluation.distances import DistanceChunks
from fastreid_ext.evaluation.feature_rows import FeatureRows
from fastreid_ext.evaluation.query_expansion import expanded
from fastreid_ext.evaluation.rank_labels import expect_images
from fastreid_ext.evaluation.ranking import RankMetrics, rank_distances, rank_metrics
from fastreid_ext.evaluation.reranking import reranked_distances
from fastreid_ext.processes import meet, on_main_process, process_count

logger = logging.getLogger(__name__)

Results = OrderedDict[str, float]


class CountingEvaluator(ReidEvaluator):
    """Drop-in for :class:`ReidEvaluator`: same keys, same numbers, no compiled Cython, no faiss.

    Results are percentages: Rank-1, Rank-5, Rank-10, mAP (fastreid's rule), mINP, and ``metric``,
    the mean of Rank-1 and mAP that selects the best checkpoint; with TEST.ROC, as in fastreid, also
    true positive rates in [0, 1]. One key is new: ``mAP (market)``, by the official trapezoids. A
    distance matrix (Q x G) is built only for TEST.ROC. Ranking and re-ranking run on
    MODEL.DEVICE.
    """

    def reset(self) -> None:
        """Discard the features and labels of earlier batches."""
        self._rows = FeatureRows()
        self._pids = []
        self._camids = []

    def process(self, inputs: dict[str, Any], outputs: Tensor) -> None:
        """Keep the features of a batch in main memory, with their labels."""
        self._rows.append(outputs)
        self._pids.append(inputs["targets"].cpu())
        self._camids.append(inputs["camids"].cpu())

    def evaluate(self) -> Results:
        """Gather the features of all processes and compute the metrics on the main one, else {}.

        Raises:
            ValueError: features or labels cannot be ranked. On the other processes it is a
                RuntimeError with the same message: all stop together.
        """
        none = torch.empty(0, dtype=torch.int64)
        ids = (torch.cat([none, *batches]) for batches in (self._pids, self._camids))
        shares = [(self._rows.joined(), *ids)]
        if process_count() > 1:
            meet()  # shares may take different time, where a set was packed or disks are slow
            shares = comm.gather(shares[0], dst=0)
        # Ranking, and re-ranking first of all, may take longer than a group of processes waits.
        results = on_main_process(lambda: self._results_of(shares), "the evaluation")
        return results if comm.is_main_process() else OrderedDict()

    def _results_of(self, shares: list[tuple[Tensor, Tensor, Tensor]]) -> Results:
        shares = [share for share in shares if len(share[0])]
        if not shares:
            expect_images(0, 0)
        features, pids, camids = map(_joined, zip(*shares, strict=True))
        features = features.to(self._device())
        query, gallery = self._expanded(features[: self._num_query], features[self._num_query :])
        labels = [
            part for ids in (pids.numpy(), camids.numpy()) for part in np.split(ids, [len(query)])
        ]
        return self._ranked(query, gallery, labels)

    def _ranked(self, query: Tensor, gallery: Tensor, labels: list[NDArray[np.int64]]) -> Results:
        """Compute the metrics of features; labels are pids of both sides, then camids."""
        if not (self.cfg.TEST.RERANK.ENABLED or self.cfg.TEST.ROC.ENABLED):
            return _as_results(rank_metrics(query, gallery, *labels, metric=self.cfg.TEST.METRIC))
        chunks = self._distances(query, gallery)
        if not self.cfg.TEST.ROC.ENABLED:
            return _as_results(rank_distances(chunks, *labels))
        matrix = np.concatenate([chunk.cpu().numpy() for chunk in chunks])
        results = _as_results(rank_distances(matrix, *labels))
        results.update(_true_positive_rates(matrix, labels))
        return results

    def _device(self) -> torch.device:
        on_gpu = torch.cuda.is_available() and self.cfg.MODEL.DEVICE.startswith("cuda")
        return torch.device(self.cfg.MODEL.DEVICE if on_gpu else "cpu")

    def _expanded(self, query: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        settings = self.cfg.TEST.AQE
        if not settings.ENABLED:
            return query, gallery
        logger.info("Test with AQE setting")
        return expanded(
            query,
            gallery,
            times=settings.QE_TIME,
            neighbours=settings.QE_K,
            alpha=settings.ALPHA,
        )

    def _distances(self, query: Tensor, gallery: Tensor) -> Iterable[Tensor]:
        metric = self.cfg.TEST.METRIC
        rerank = self.cfg.TEST.RERANK
        if not rerank.ENABLED:
            chunks = DistanceChunks(query, gallery, metric)
            return (products.as_distances().clone() for products in chunks)
        logger.info("re-ranking by the rule %r (TEST.RERANK.RULE)", rerank.RULE)
        return reranked_distances(
            query,
            gallery,
            k1=rerank.K1,
            k2=rerank.K2,
            lambda_value=rerank.LAMBDA,
            metric=metric,
            rule=rerank.RULE,
        )


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)  # one part is not copied


def _as_results(metrics: RankMetrics) -> Results:
    percentages = metrics.percentages()
    market = percentages.pop("mAP (market)")
    results = OrderedDict(percentages)
    results["metric"] = (results["mAP"] + results["Rank-1"]) / 2
    results["mAP (market)"] = market
    return results


def _true_positive_rates(
    distances: NDArray[np.float32], labels: list[NDArray[np.int64]]
) -> dict[str, float]:
    query_pids, gallery_pids, query_camids, gallery_camids = labels
    scores, is_match = evaluate_roc(
        distances, query_pids, gallery_pids, query_camids, gallery_camids
    )
    from sklearn.metrics import roc_curve  # here, because importing it takes a second

    false_positive_rate, true_positive_rate, _ = roc_curve(is_match, scores)
    return {
        f"TPR@FPR={rate:.0e}": float(
            true_positive_rate[np.abs(false_positive_rate - rate).argmin()]
        )
        for rate in (1e-4, 1e-3, 1e-2)
    }
