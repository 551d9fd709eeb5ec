"""Evaluate a model on the test sets of a configuration."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from fastreid.config import CfgNode
from fastreid.evaluation import DatasetEvaluator, inference_on_dataset
from fastreid.utils import comm
from tabulate import tabulate
from torch import nn

from fastreid_ext.evaluation.ranking import column_title
from fastreid_ext.evaluation.visible_infrared.evaluator import title_of_test

logger = logging.getLogger(__name__)

BuildEvaluator = Callable[[CfgNode, str], tuple[Any, DatasetEvaluator]]


def evaluate_test_sets(
    cfg: CfgNode, model: nn.Module, build_evaluator: BuildEvaluator
) -> OrderedDict[str, Any]:
    """Evaluate on ``DATASETS.TESTS``, with TEST.FLIP, and log a table of each.

    Does what fastreid's trainer does, but its table does not say by which rule mAP was computed.

    Args:
        cfg: configuration with ``DATASETS.TESTS`` and ``TEST``.
        model: model, put into evaluation mode and back.
        build_evaluator: returns loader and evaluator of a test set.

    Returns:
        Metrics by test set, or the metrics alone where there is one set; {} off the main process.
    """
    results = OrderedDict()
    for name in cfg.DATASETS.TESTS:
        loader, evaluator = build_evaluator(cfg, name)
        results[name] = inference_on_dataset(
            model, loader, evaluator, flip_test=cfg.TEST.FLIP.ENABLED
        )
        if comm.is_main_process():
            title = title_of_test(cfg, name)
            logger.info("results on the test set:\n%s", results_table(title, results[name]))
    return results if len(results) > 1 else next(iter(results.values()), results)


def results_table(name: str, metrics: Mapping[str, float]) -> str:
    """Return one row of metrics as a Markdown table that names the rule of each mAP."""
    return tabulate(
        [[name, *metrics.values()]],
        headers=["test set", *map(column_title, metrics)],
        tablefmt="pipe",
        floatfmt=".2f",
        numalign="left",
    )
