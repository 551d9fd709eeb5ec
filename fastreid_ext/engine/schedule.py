"""Epochs and iterations of a run."""

import math

from fastreid.config import CfgNode


def iterations_per_epoch(cfg: CfgNode, images: int) -> int:
    """Return the number of whole batches in the training images; check that schedules fit.

    Raises:
        ValueError: less than one batch, or no epoch left for the schedule after warm-up.
    """
    batch, solver = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER
    iterations = images // batch
    if iterations == 0:
        raise ValueError(
            f"expected at least one batch of SOLVER.IMS_PER_BATCH = {batch} images, got {images} "
            "training images; lower SOLVER.IMS_PER_BATCH"
        )
    before = max(math.ceil(solver.WARMUP_ITERS / iterations), solver.DELAY_EPOCHS)
    if solver.SCHED == "CosineAnnealingLR" and before >= solver.MAX_EPOCH:
        raise ValueError(
            f"CosineAnnealingLR begins after {before} epochs (SOLVER.WARMUP_ITERS = "
            f"{solver.WARMUP_ITERS} at {iterations} iterations per epoch, SOLVER.DELAY_EPOCHS = "
            f"{solver.DELAY_EPOCHS}) but SOLVER.MAX_EPOCH is {solver.MAX_EPOCH}; raise it or warm "
            "up for less"
        )
    return iterations
