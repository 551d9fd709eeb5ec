"""Epochs and iterations of a run."""

import math

from fastreid.config import CfgNode


def iterations_per_epoch(cfg: CfgNode, images: int) -> int:
    """Return the number of whole batches in the training images; check that the schedule fits.

    Args:
        cfg: the configuration.
        images: training images, at least one batch (the loader sees to that).

    Raises:
        ValueError: no epoch is left for the schedule after warm-up.
    """
    batch, solver = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER
    iterations = images // batch
    before = max(math.ceil(solver.WARMUP_ITERS / iterations), solver.DELAY_EPOCHS)
    if solver.SCHED == "CosineAnnealingLR" and before >= solver.MAX_EPOCH:
        raise ValueError(
            f"CosineAnnealingLR begins after {before} epochs (SOLVER.WARMUP_ITERS = "
            f"{solver.WARMUP_ITERS} at {iterations} iterations per epoch, SOLVER.DELAY_EPOCHS = "
            f"{solver.DELAY_EPOCHS}) but SOLVER.MAX_EPOCH is {solver.MAX_EPOCH}; raise it or warm "
            "up for less"
        )
    return iterations
