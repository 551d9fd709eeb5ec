"""How the commands of a job end, and the configuration of a process."""

import sys
from collections.abc import Collection, Sequence

import torch
from fastreid.config import CfgNode

from fastreid_ext.config import load_config
from fastreid_ext.generation.runs.workers import local_device
from fastreid_ext.ranks import read_ranks

FAILED = 3  # exit code of a tool that did its work but for identities that failed


def end(summary: str, failed: Collection[str]) -> None:
    """Print the last line of a tool, and exit with :data:`FAILED` if identities failed.

    Of the processes that a launcher started only the first exits with that code: torchrun would
    end the others, whose work may be needed.

    Args:
        summary: last line that the tool prints.
        failed: names of the identities or reference sets that failed.

    Raises:
        SystemExit: an identity or reference set failed.
    """
    print(summary)
    if failed and read_ranks().rank == 0:
        sys.exit(FAILED)


def job_config(config_file: str, pairs: Sequence[str], *, computes: bool = True) -> CfgNode:
    """Read the configuration of a job as this process needs it.

    The Re-ID model that the configuration could also describe is not loaded. Under a launcher
    MODEL.DEVICE cuda becomes the GPU of this process. It also becomes torch's current device, since
    otherwise every process would keep pinned memory and a context on the first GPU.

    Args:
        config_file: path of a YAML file, or "" for the defaults.
        pairs: KEY VALUE pairs that change the file's values.
        computes: whether a model runs; False needs no GPU.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a key or a value is wrong.
    """
    fixed = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.WEIGHTS", ""]
    fixed += [] if computes else ["MODEL.DEVICE", "cpu"]
    cfg = load_config(config_file, [*pairs, *fixed])
    cfg.defrost()
    cfg.MODEL.DEVICE = local_device(cfg.MODEL.DEVICE)
    cfg.freeze()
    if cfg.MODEL.DEVICE.startswith("cuda:"):
        torch.cuda.set_device(cfg.MODEL.DEVICE)
    return cfg
