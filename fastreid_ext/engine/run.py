"""Train or evaluate a configuration in this process: what tools and the demo call."""

import logging
import time
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn

from fastreid_ext.data.preflight import preflight
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.read_tensors import read_by_features
from fastreid_ext.engine.results import (
    EVALUATION_FILE,
    RESULT_FILE,
    Results,
    by_test_set,
    write_result,
)
from fastreid_ext.engine.resume import capture_random_state, restore_random_state
from fastreid_ext.engine.setup import keep_configuration, prepare_run
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.modeling.build import build_model
from fastreid_ext.modeling.pretrained.matching import first_names
from fastreid_ext.processes import on_main_process

logger = logging.getLogger(__name__)


class UnfitDataError(ValueError):
    """The preflight found data that cannot be trained on."""

    exit_code = 2  # of the command; see fastreid_ext.command_line


def train(cfg: CfgNode, resume: bool = False, *, kind: type[Trainer] = Trainer) -> Results:
    """Train as the configuration says and write ``result.json`` into its ``OUTPUT_DIR``.

    Example::

        cfg = load_config("configs/demo.yml")
        results = train(cfg)
        results["RenderedCampus"]["mAP"]  # in percent

    Args:
        cfg: configuration checked by ``fastreid_ext.config.load_config``.
        resume: continue from the last checkpoint in ``OUTPUT_DIR`` if there is one.
        kind: trainer, a project's own where its step or hooks differ.

    Returns:
        Percentages by test set and metric, of the last evaluation; {} where nothing is evaluated
        and on all processes but the main one.

    Raises:
        UnfitDataError: images, identities or batches are not fit for training.
    """
    began = time.perf_counter()
    cfg = prepare_run(cfg, resume=resume)
    _check_data(cfg)
    trainer = kind(cfg)
    trainer.resume_or_load(resume)
    keep_configuration(trainer.cfg)
    results = by_test_set(cfg, trainer.train())
    if comm.is_main_process():
        write_result(trainer.cfg, results, _timings(trainer, began), RESULT_FILE)
    return results


def evaluate(cfg: CfgNode) -> Results:
    """Evaluate ``MODEL.WEIGHTS`` on ``DATASETS.TESTS`` and write ``evaluation.json``.

    Example::

        weights = ["MODEL.WEIGHTS", "demo/train/model_final.pth"]
        results = evaluate(load_config("demo/train/config.yaml", [*FROM_CHECKPOINT, *weights]))
        results["RenderedCampus"]["Rank-1"]  # in percent

    Returns:
        As :func:`train`.

    Raises:
        ValueError: ``MODEL.WEIGHTS`` is empty.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(
            "expected a checkpoint to evaluate in MODEL.WEIGHTS, got none; add e.g. "
            f"MODEL.WEIGHTS {cfg.OUTPUT_DIR.rstrip('/')}/model_final.pth"
        )
    began = time.perf_counter()
    cfg = prepare_run(cfg, eval_only=True)
    model = load_model(cfg, cfg.MODEL.WEIGHTS)
    results = by_test_set(cfg, Trainer.test(cfg, model))
    if comm.is_main_process():
        timings = {"total_seconds": time.perf_counter() - began}
        write_result(cfg, results, timings, EVALUATION_FILE)
    return results


def load_model(cfg: CfgNode, weights: str | Path) -> nn.Module:
    """Build the model of a configuration with the weights of a checkpoint.

    Example::

        cfg = load_config("demo/train/config.yaml", FROM_CHECKPOINT)
        model = load_model(cfg, "demo/train/model_final.pth").eval()
        features = model({"images": images})  # (B, 3, H, W) RGB in [0, 255] to (B, D)

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it is damaged or of another model, or lacks a tensor that the features need.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False  # the checkpoint holds the backbone
    model = build_model(cfg)
    checkpointer = AtomicCheckpointer(model, min_matched=cfg.MODEL.MIN_WEIGHTS_MATCHED)
    checkpointer.load(str(weights))
    needed = read_by_features(model, checkpointer.left_as_built, cfg.INPUT.SIZE_TEST)
    if needed:
        raise ValueError(
            f"{weights} lacks {len(needed)} tensors that the features depend on"
            f"{first_names(needed)}: they would stay random; set the MODEL keys to those of the "
            "run that wrote it (config.yaml beside it), or choose another checkpoint"
        )
    return model


def _check_data(cfg: CfgNode) -> None:
    """Run the preflight on the main process; all processes go on or stop together."""
    problems = on_main_process(lambda: _problems_of_data(cfg), "the check of the data")
    if problems:
        raise UnfitDataError("the data are not fit for training:\n  " + "\n  ".join(problems))


def _problems_of_data(cfg: CfgNode) -> list[str]:
    random_state = capture_random_state()  # the run must not depend on DATASETS.PREFLIGHT
    report = preflight(cfg)
    restore_random_state(random_state)
    level = logging.ERROR if report.problems else logging.INFO
    logger.log(level, "preflight:\n%s", report)
    return report.problems


def _timings(trainer: Trainer, began: float) -> dict[str, float]:
    timings = {
        "total_seconds": time.perf_counter() - began,
        "iterations": trainer.max_iter - trainer.start_epoch * trainer.iters_per_epoch,
    }
    if hasattr(trainer, "storage") and "time" in trainer.storage.histories():
        seconds = trainer.storage.history("time").median(trainer.max_iter)
        timings["seconds_per_iteration"] = seconds
        timings["images_per_second"] = trainer.cfg.SOLVER.IMS_PER_BATCH / seconds
    if torch.cuda.is_available():
        timings["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return timings
