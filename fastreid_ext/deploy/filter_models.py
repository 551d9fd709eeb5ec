"""The models of ``GENERATION.FILTER`` that were trained by this project."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.checks.generation import filter_model_problems
from fastreid_ext.data.configured_sets import dataset_root
from fastreid_ext.deploy.feature_extractor import FeatureExtractor
from fastreid_ext.deploy.identity_classifier import IdentityClassifier
from fastreid_ext.deploy.load import fingerprint_of, ready_config
from fastreid_ext.engine.checkpoint import read_checkpoint

_log = logging.getLogger(__name__)


# Fingerprint, opener, data sets it was trained on, and whether their test images were among its
# training images.
FilterModel = tuple[str, Callable[[], Any], tuple[str, ...], bool]


def filter_models(cfg: CfgNode) -> dict[str, FilterModel]:
    """Return the models that are named: "reid", "reid/<data set>", "cctf" or none.

    No model is made before an opener is called. The device is MODEL.DEVICE, the data sets are
    looked for in DATASETS.ROOT, and the batch size is that of the filters.

    Raises:
        ValueError: a filter of USE has no model, a file is not there, or a mistake in a
            configuration.
    """
    filters = cfg.GENERATION.FILTER
    models = {}
    if problems := list(filter_model_problems(filters, cfg.DATASETS.NAMES)):
        raise ValueError("the filters lack something:\n  - " + "\n  - ".join(problems))
    common = ["TEST.IMS_PER_BATCH", str(filters.BATCH_SIZE)]
    for name, config_file, weights in _named(filters):
        kind = IdentityClassifier if name == "cctf" else FeatureExtractor
        overrides = [*common, "DATASETS.ROOT", dataset_root(cfg)]
        ready = ready_config(config_file, device=cfg.MODEL.DEVICE, overrides=overrides)
        read_checkpoint(weights, lazily=True)  # a damaged one would be noticed after generating
        data_set = name.partition("/")[2]
        _warn_of_other_persons(name, ready, [data_set] if data_set else cfg.DATASETS.NAMES)
        models[name] = (
            fingerprint_of(ready, weights),
            partial(kind, ready, weights),
            tuple(ready.DATASETS.NAMES),
            bool(ready.DATASETS.COMBINEALL),
        )
    return models


def _named(filters: CfgNode) -> list[tuple[str, str, str]]:
    """Return name, configuration and checkpoint of the models that are named."""
    found = [
        (name, node.CONFIG_FILE, node.WEIGHTS)
        for name, node in (("reid", filters.REID), ("cctf", filters.CCTF))
        if node.WEIGHTS
    ]
    return found + [(f"reid/{row[0]}", row[1], row[2]) for row in filters.REID.MODELS]


def _warn_of_other_persons(name: str, model: CfgNode, data_sets: Iterable[str]) -> None:
    trained = set(model.DATASETS.NAMES)
    generated = set(data_sets)
    if not trained & generated:
        _log.warning(
            "GENERATION.FILTER.%s was trained on %s by its CONFIG_FILE, the identities are of %s; "
            "the paper trains one on each set, which knows these identities better",
            *(name.upper(), ", ".join(sorted(trained)), ", ".join(sorted(generated))),
        )
