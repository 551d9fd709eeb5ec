"""The models of ``GENERATION.FILTER`` that were trained by this project."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.config.generation_checks import filter_model_problems
from fastreid_ext.data.sources import dataset_root
from fastreid_ext.deploy.feature_extractor import FeatureExtractor
from fastreid_ext.deploy.identity_classifier import IdentityClassifier
from fastreid_ext.deploy.load import fingerprint_of, ready_config
from fastreid_ext.engine.checkpoint import read_checkpoint

_log = logging.getLogger(__name__)


def filter_models(cfg: CfgNode) -> dict[str, tuple[str, Callable[[], Any]]]:
    """Return fingerprint and opener of the models that are named: "reid", "cctf" or none.

    No model is made before an opener is called. The device is MODEL.DEVICE, the data sets are
    looked for in DATASETS.ROOT, and the batch size is that of the filters.

    Raises:
        ValueError: a filter of USE has no model, a file is not there, or a mistake in a
            configuration.
    """
    filters, models = cfg.GENERATION.FILTER, {}
    if problems := list(filter_model_problems(filters)):
        raise ValueError("the filters lack something:\n  - " + "\n  - ".join(problems))
    common = ["TEST.IMS_PER_BATCH", str(filters.BATCH_SIZE)]
    for name, kind in (("reid", FeatureExtractor), ("cctf", IdentityClassifier)):
        node = filters[name.upper()]
        if not node.WEIGHTS:
            continue
        overrides = [*common, "DATASETS.ROOT", dataset_root(cfg)]
        ready = ready_config(node.CONFIG_FILE, device=cfg.MODEL.DEVICE, overrides=overrides)
        read_checkpoint(node.WEIGHTS, lazily=True)  # a damaged one would be noticed after drawing
        _warn_of_other_persons(name, ready, cfg)
        models[name] = (fingerprint_of(ready, node.WEIGHTS), partial(kind, ready, node.WEIGHTS))
    return models


def _warn_of_other_persons(name: str, model: CfgNode, cfg: CfgNode) -> None:
    trained, drawn = set(model.DATASETS.NAMES), set(cfg.DATASETS.NAMES)
    if not trained & drawn:
        _log.warning(
            "GENERATION.FILTER.%s was trained on %s by its CONFIG_FILE, the persons are of %s; the "
            "paper trains one on each set, which knows these persons better",
            *(name.upper(), ", ".join(sorted(trained)), ", ".join(sorted(drawn))),
        )
