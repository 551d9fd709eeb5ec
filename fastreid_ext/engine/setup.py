"""From the command line to a prepared process: arguments, folder, log, seed, flags of cuDNN."""

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine import default_argument_parser
from fastreid.utils import comm
from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.env import seed_all_rng
from fastreid.utils.logger import setup_logger

from fastreid_ext.atomic import atomic_write_text, expect_writable
from fastreid_ext.checks import log_unread_keys
from fastreid_ext.config import FROM_CHECKPOINT, load_config
from fastreid_ext.config.load import merged_config
from fastreid_ext.engine.checkpoint import TAG
from fastreid_ext.engine.launch import use_device
from fastreid_ext.engine.resumed_configuration import recorded_run, refuse_changed_keys

logger = logging.getLogger(__name__)


def argument_parser() -> argparse.ArgumentParser:
    """Return fastreid's parser; the port of spawned processes is a free one, not a fixed one."""
    parser = default_argument_parser()
    parser.set_defaults(dist_url="auto")
    return parser


def run_configuration(args: argparse.Namespace) -> CfgNode:
    """Load the configuration that a command of :func:`argument_parser` asks for.

    With ``--eval-only``, and with ``--resume`` where there is a checkpoint, the file of pre-trained
    weights is not asked for: the checkpoint brings all weights.

    Raises:
        FileNotFoundError, ValueError: as ``load_config``.
    """
    continues = args.resume and _has_checkpoint(args)
    pairs = [*FROM_CHECKPOINT] if args.eval_only or continues else []
    pairs += ["MODEL.WEIGHTS", ""] if continues else []
    return load_config(args.config_file, [*args.opts, *pairs])


def _has_checkpoint(args: argparse.Namespace) -> bool:
    return (Path(merged_config(args.config_file, args.opts).OUTPUT_DIR) / TAG).is_file()


def prepare_run(cfg: CfgNode, *, resume: bool = False, eval_only: bool = False) -> CfgNode:
    """Open the log and fix the seed and the flags of cuDNN.

    With ``SEED: -1`` a seed is sampled (or taken from the checkpoint when resuming), so that every
    run can be repeated from its ``config.yaml``. With a seed given, cuDNN is restricted to
    deterministic algorithms unless ``CUDNN_BENCHMARK`` asks for the fastest. Equal runs are
    promised on the CPU; on a GPU some backward passes add in no fixed order.

    Returns:
        The frozen configuration with the seed in it.

    Raises:
        OSError: nothing can be written to ``OUTPUT_DIR``.
        ValueError: a run is to be continued with keys that must not change, or from a damaged
            checkpoint.
    """
    use_device(cfg.MODEL.DEVICE)
    folder = expect_writable(cfg.OUTPUT_DIR, is_folder=True)
    _open_logs(folder)
    is_seeded = cfg.SEED >= 0
    recorded = recorded_run(folder) if resume else {}
    cfg = _with_seed(cfg, recorded.get("run", {}).get("seed"))
    refuse_changed_keys(recorded.get("config"), cfg)  # before data are checked, which takes minutes
    logger.info("process %d of %d, seed %d", comm.get_rank(), comm.get_world_size(), cfg.SEED)
    log_unread_keys(cfg)
    seed_all_rng(cfg.SEED + comm.get_rank())  # processes must differ in dropout and the like
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not eval_only
    torch.backends.cudnn.deterministic = is_seeded and not cfg.CUDNN_BENCHMARK
    return cfg


def keep_configuration(cfg: CfgNode) -> None:
    """Write ``config.yaml`` and ``environment.txt``, once it is sure that this run will train.

    A call that is refused must not replace what describes the checkpoints of an earlier run.
    """
    if not comm.is_main_process():
        return
    folder = Path(cfg.OUTPUT_DIR)
    atomic_write_text(folder / "environment.txt", collect_env_info() + "\n")
    atomic_write_text(folder / "config.yaml", cfg.dump())
    logger.info("configuration and environment are in %s/{config.yaml,environment.txt}", folder)


def with_room_for_clusters(cfg: CfgNode, images: int, source: int = 0) -> CfgNode:
    """Fill in ``MODEL.HEADS.NUM_CLASSES``, here the largest number of clusters, where it is 0.

    It does not depend on the number of identities, which is not known to training on clusters.

    Args:
        cfg: configuration to fill in.
        images: number of training images that are clustered.
        source: number of identities of ``DATASETS.SOURCES``, which have classes too.
    """
    cfg = cfg.clone()
    cfg.defrost()
    heads = cfg.MODEL.HEADS
    images_each = 1 if cfg.UNSUPERVISED.OUTLIERS == "kept" else cfg.UNSUPERVISED.MIN_SAMPLES
    clusters = max(images // images_each, 2)
    heads.NUM_CLASSES = heads.NUM_CLASSES or source + clusters
    cfg.freeze()
    return cfg


def with_classes(cfg: CfgNode, num_classes: int) -> CfgNode:
    """Fill in ``MODEL.HEADS.NUM_CLASSES`` where it is 0.

    fastreid's ``auto_scale_hyperparams`` would write ``config.yaml`` at once.

    Args:
        cfg: configuration to fill in.
        num_classes: number of identities in the training data.

    Raises:
        ValueError: the configuration has fewer classes than there are identities.
    """
    configured = cfg.MODEL.HEADS.NUM_CLASSES
    difference = (
        f"MODEL.HEADS.NUM_CLASSES is {configured} but the training data have {num_classes} "
        "identities; is it the config.yaml of a run on other data? Set it to 0, which takes the "
        "number of the data"
    )
    if 0 < configured < num_classes:
        raise ValueError(difference)
    if configured > num_classes:
        logger.warning("%s; the classes without images are trained as strangers", difference)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = cfg.MODEL.HEADS.NUM_CLASSES or num_classes
    cfg.freeze()
    return cfg


def _open_logs(folder: Path) -> None:
    """Log to the console and to ``folder``, also when an earlier run of this process did so."""
    setup_logger.cache_clear()
    for name in ("fastreid", "fastreid_ext"):
        logging.getLogger(name).handlers.clear()
        setup_logger(str(folder), distributed_rank=comm.get_rank(), name=name)


def _with_seed(cfg: CfgNode, recorded: int | None) -> CfgNode:
    if cfg.SEED >= 0:
        return cfg
    seed = recorded
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0] % 2**31)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED = comm.all_gather(seed)[0]
    cfg.freeze()
    return cfg
