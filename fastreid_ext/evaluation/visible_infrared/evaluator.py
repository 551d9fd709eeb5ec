"""Evaluator of visible-infrared test sets, in the trainer and on corrupted images."""

import logging
from collections import OrderedDict
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.configured_sets import dataset_root, query_and_gallery
from fastreid_ext.data.visible_infrared import VisibleInfraredTest, visible_infrared_test
from fastreid_ext.evaluation.evaluator import CountingEvaluator, Results
from fastreid_ext.evaluation.visible_infrared.drawn_ranking import DrawMetrics
from fastreid_ext.evaluation.visible_infrared.gallery_draws import (
    Draws,
    official_draws,
    read_permutations,
    seeded_draws,
)
from fastreid_ext.evaluation.visible_infrared.metrics import (
    llcm_metrics,
    regdb_metrics,
    sysu_metrics,
)

logger = logging.getLogger(__name__)


def evaluator_of(
    cfg: CfgNode, name: str, num_query: int, output_dir: str | None = None
) -> CountingEvaluator:
    """Build the evaluator of a test set: by the rule of the set, or fastreid's."""
    rule = visible_infrared_test(name)
    if rule is None:
        return CountingEvaluator(cfg, num_query, output_dir)
    return VisibleInfraredEvaluator(cfg, num_query, output_dir, name=name, rule=rule)


def title_of_test(cfg: CfgNode, name: str) -> str:
    """Name a test in a table, with all that changes its result.

    A visible-infrared test is named with its direction, trials and how they are drawn, the feature,
    flipping and the weights.
    """
    rule = visible_infrared_test(name)
    if rule is None:
        rerank = cfg.TEST.RERANK
        return f"{name}, re-ranked ({rerank.RULE})" if rerank.ENABLED else name
    own = cfg.TEST.VISIBLE_INFRARED
    parts = [name, rule.arrow]
    if rule.rule == "sysu":
        parts += [f"{rule.search} search", f"{own.SHOTS} shot{'s' * (own.SHOTS > 1)}"]
    if rule.drawn:
        side = "" if rule.drawn == "gallery" else ", queries are drawn"
        parts.append(f"{own.TRIALS} draws by {_drawn_by(cfg, rule)}{side}")
    parts += [
        f"feature {cfg.MODEL.HEADS.NECK_FEAT} the neck",
        "with flip" if cfg.TEST.FLIP.ENABLED else "no flip",
        f"weights {Path(cfg.MODEL.WEIGHTS).name}" if cfg.MODEL.WEIGHTS else "weights in training",
    ]
    return "; ".join(parts)


def _permutation_file(cfg: CfgNode, rule: VisibleInfraredTest) -> Path | None:
    file = Path(dataset_root(cfg)) / rule.permutations
    return file if rule.permutations and file.is_file() else None


def _drawn_by(cfg: CfgNode, rule: VisibleInfraredTest) -> str:
    file = _permutation_file(cfg, rule)
    if file is not None:
        return file.name
    missing = f", no {Path(rule.permutations).name}" if rule.permutations else ""
    return f"random.seed(trial){missing}"


class VisibleInfraredEvaluator(CountingEvaluator):
    """Evaluator of a test set with a :class:`VisibleInfraredTest`.

    Results have the keys of :class:`CountingEvaluator`, as means over the draws, without "mAP
    (market)"; and for several draws "Rank-1 spread", "mAP spread" and "mINP spread", the standard
    deviation (n - 1) over the draws.

    Args:
        cfg: full configuration with TEST and the place of the data sets.
        num_query: number of queries, the first of all images.
        output_dir: folder that fastreid hands on; nothing is written there.
        name: registered name of the test set.
        rule: rule of the test.
    """

    def __init__(
        self,
        cfg: CfgNode,
        num_query: int,
        output_dir: str | None = None,
        *,
        name: str,
        rule: VisibleInfraredTest,
    ) -> None:
        super().__init__(cfg, num_query, output_dir)
        self._name = name
        self._rule = rule

    def _ranked(self, query: Tensor, gallery: Tensor, labels: list[NDArray[np.int64]]) -> Results:
        query_pids, gallery_pids, query_camids, gallery_camids = labels
        # Cameras count from 1 in the rules.
        sides = (query, query_pids, query_camids + 1, gallery, gallery_pids, gallery_camids + 1)
        if self._rule.rule == "regdb":
            return _as_results(regdb_metrics(*sides, direction=self._rule.direction))
        of_side = sides[4:] if self._rule.drawn == "gallery" else sides[1:3]
        draws = self._draws(*of_side)
        if self._rule.rule == "sysu":
            return _as_results(sysu_metrics(*sides, draws, search=self._rule.search))
        return _as_results(llcm_metrics(*sides, **{f"{self._rule.drawn}_draws": draws}))

    def _draws(self, pids: NDArray[np.int64], camids: NDArray[np.int64]) -> Draws:
        items, num_query = query_and_gallery(self.cfg, self._name)
        drawn = items[num_query:] if self._rule.drawn == "gallery" else items[:num_query]
        names = [Path(path).name for path in drawn.paths]
        own = self.cfg.TEST.VISIBLE_INFRARED
        counts = {"trials": own.TRIALS, "shots": own.SHOTS if self._rule.rule == "sysu" else 1}
        file = _permutation_file(self.cfg, self._rule)
        if file is None:
            if self._rule.permutations:
                logger.warning(
                    "no %s: galleries of %s are drawn by random.seed(trial), as most papers do",
                    Path(dataset_root(self.cfg)) / self._rule.permutations,
                    self._name,
                )
            return seeded_draws(pids, camids, names, **counts)
        return official_draws(pids, camids, names, read_permutations(file), **counts)


def _as_results(metrics: DrawMetrics) -> Results:
    results = OrderedDict((f"Rank-{k}", 100 * float(metrics.cmc[k - 1])) for k in (1, 5, 10))
    results["mAP"] = 100 * metrics.mAP
    results["mINP"] = 100 * metrics.mINP
    results["metric"] = (results["mAP"] + results["Rank-1"]) / 2
    if len(metrics.mAP_per_draw) > 1:
        spreads = {
            "Rank-1": metrics.cmc_per_draw[:, 0],
            "mAP": metrics.mAP_per_draw,
            "mINP": metrics.mINP_per_draw,
        }
        for key, values in spreads.items():
            results[f"{key} spread"] = 100 * float(values.std(ddof=1))
    return results
