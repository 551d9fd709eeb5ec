"""Keys that pre-training by classification needs beside fastreid's, and what can be wrong."""

import re

from fastreid.config import CfgNode

from fastreid_ext.config.bdb import STAIRS

_TIMM_TEXT = r"rand(-(m|n|p|mstd|mmax|inc)\d+(\.\d+)?)+"


def add_pretraining_keys(cfg: CfgNode) -> None:
    """Add ``SOLVER.WARMUP_EPOCHS`` and ``INPUT.RANDAUGMENT.TIMM``; after the augmentation keys."""
    # Epochs of warm-up, whatever the size of the training set; > 0 takes the place of WARMUP_ITERS.
    # The rate still rises with each iteration.
    cfg.SOLVER.WARMUP_EPOCHS = 0
    # timm's RandAugment in the place of torchvision's, as timm writes it, "rand-m9-mstd0.5-inc1"
    # for example: magnitude 9 of 10 with deviation 0.5, stronger with it, two operations, each left
    # out with probability 0.5. "" = torchvision's, with OPERATIONS and MAGNITUDE (of 30).
    cfg.INPUT.RANDAUGMENT.TIMM = ""


def pretraining_problems(cfg: CfgNode) -> list[str]:
    """Return what is wrong with these keys, each with what to do."""
    solver, text = cfg.SOLVER, cfg.INPUT.RANDAUGMENT.TIMM
    epochs = solver.WARMUP_EPOCHS
    rules = (
        (
            epochs >= 0,
            f"expected SOLVER.WARMUP_EPOCHS >= 0, got {epochs}; 0 leaves it to WARMUP_ITERS",
        ),
        (
            epochs <= 0 or solver.SCHED != STAIRS,
            f"SOLVER.SCHED {STAIRS} warms up itself, but SOLVER.WARMUP_EPOCHS is {epochs}; set it "
            "to 0",
        ),
        (
            epochs <= 0 or epochs < solver.MAX_EPOCH,
            f"expected SOLVER.WARMUP_EPOCHS below SOLVER.MAX_EPOCH, {solver.MAX_EPOCH}, got "
            f"{epochs}; the rate would hardly reach BASE_LR",
        ),
        (
            not text or re.fullmatch(_TIMM_TEXT, text),
            "expected INPUT.RANDAUGMENT.TIMM empty or as timm writes it, rand and parts of m "
            f"(magnitude), n (operations), p, mstd, mmax, inc with numbers, got '{text}'; "
            "e.g. rand-m9-mstd0.5-inc1",
        ),
    )
    return [message for holds, message in rules if not holds]
