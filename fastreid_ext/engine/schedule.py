"""Epochs, iterations and learning rates of a run."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from fastreid.config import CfgNode
from fastreid.solver import build_lr_scheduler as host_lr_scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from fastreid_ext.checks.solver import STAIRS
from fastreid_ext.data.domain_batches import has_meta_half
from fastreid_ext.data.sampler_checks import ONCE_PER_IDENTITY


def iterations_per_epoch(cfg: CfgNode, images: int, identities: int) -> int:
    """Return the number of iterations in an epoch; check that the schedule fits.

    That is ``SOLVER.ITERS_PER_EPOCH``, or else the whole batches in as many images as there are;
    with ``OncePerIdentitySampler`` in ``DATALOADER.NUM_INSTANCE`` images of every identity. The
    half of a batch that trains gates (``SOLVER.META``) does not count.

    Args:
        cfg: configuration with ``SOLVER`` and ``DATALOADER``.
        images: number of training images, at least one batch (the loader sees to that).
        identities: number of training identities.

    Raises:
        ValueError: no epoch is left for the schedule after warm-up.
    """
    solver = cfg.SOLVER
    batch = solver.IMS_PER_BATCH // 2 if has_meta_half(cfg) else solver.IMS_PER_BATCH
    if cfg.DATALOADER.SAMPLER_TRAIN == ONCE_PER_IDENTITY:
        images = identities * cfg.DATALOADER.NUM_INSTANCE
    iterations = solver.ITERS_PER_EPOCH or images // batch
    warmup = warmup_iterations(cfg, iterations)
    before = max(math.ceil(warmup / iterations), solver.DELAY_EPOCHS)
    if solver.SCHED == "CosineAnnealingLR" and before >= solver.MAX_EPOCH:
        advice = (
            "set SOLVER.DELAY_EPOCHS 0" if solver.DELAY_EPOCHS == before else "warm up for less"
        )
        raise ValueError(
            f"CosineAnnealingLR begins after {before} epochs (SOLVER.WARMUP_ITERS = "
            f"{warmup} at {iterations} iterations per epoch, SOLVER.DELAY_EPOCHS = "
            f"{solver.DELAY_EPOCHS}) but SOLVER.MAX_EPOCH is {solver.MAX_EPOCH}; raise it, or "
            f"{advice}"
        )
    return iterations


def warmup_iterations(cfg: CfgNode, iters_per_epoch: int) -> int:
    """Return the iterations of warm-up, of SOLVER.WARMUP_EPOCHS or else of WARMUP_ITERS."""
    return cfg.SOLVER.WARMUP_EPOCHS * iters_per_epoch or cfg.SOLVER.WARMUP_ITERS


def with_warmup(cfg: CfgNode, iters_per_epoch: int) -> CfgNode:
    """Fill in ``SOLVER.WARMUP_ITERS``, which fastreid reads, where the warm-up is in epochs."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.WARMUP_ITERS = warmup_iterations(cfg, iters_per_epoch)
    cfg.freeze()
    return cfg


def epochs_before_decay(cfg: CfgNode, iters_per_epoch: int) -> int:
    """Return the number of first epochs after which the schedule does not step.

    fastreid lets a cosine last ``MAX_EPOCH`` less the epochs of warm-up, but steps it at the end of
    the last of these already: the cosine is over one epoch early, and the last epoch has the rate
    ``SOLVER.ETA_MIN_LR``, at which nothing is learned. Here the first step of a cosine comes after
    the first epoch that follows warm-up and ``SOLVER.DELAY_EPOCHS``. Other schedules step as in
    fastreid, since the ``STEPS`` of its recipes mean that.

    Args:
        cfg: configuration with ``SOLVER.WARMUP_ITERS`` filled in.
        iters_per_epoch: number of iterations in an epoch.
    """
    solver = cfg.SOLVER
    if solver.SCHED != "CosineAnnealingLR":
        return solver.DELAY_EPOCHS
    return max(math.ceil(solver.WARMUP_ITERS / iters_per_epoch), solver.DELAY_EPOCHS)


def follow_new_length(schedule: LRScheduler, epochs: int) -> bool:
    """Let a cosine that was restored from a checkpoint end after another number of epochs.

    ``load_state_dict`` brings the former length back, after which the rate would rise again. The
    rates from the present epoch on are those of a cosine that had the new length from its start.

    Args:
        schedule: any schedule; only a ``CosineAnnealingLR`` depends on the length of the run.
        epochs: epochs of the cosine in the configuration of now.

    Returns:
        Whether the length has changed.
    """
    if not isinstance(schedule, CosineAnnealingLR) or schedule.T_max == epochs:
        return False
    schedule.T_max = epochs
    if schedule.last_epoch > 0:  # before, warm-up sets the rates
        rates = [
            schedule.eta_min
            + (base - schedule.eta_min) * (1 + math.cos(math.pi * schedule.last_epoch / epochs)) / 2
            for base in schedule.base_lrs
        ]
        for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        schedule._last_lr = rates
    return True


class StairWarmupLR(LRScheduler):
    """Climb to the optimizer's rate in equal steps of some epochs, then fall at milestones.

    In epoch e, counted from 1, the rate is multiplied by min((e // stair_epochs + 1) / stairs, 1)
    and by gamma for each milestone m < e. With 10 stairs of 5 epochs, milestones 199 and 299,
    gamma 0.1 and the rate 1e-3 this is BDB's rule.

    Args:
        optimizer: optimizer whose rates are set, once per epoch.
        stairs: number of steps up to the full rate.
        stair_epochs: number of epochs of a step (the first has one less, e counting from 1).
        milestones: finished epochs after which the rate falls, as in ``MultiStepLR``.
        gamma: factor of the rate at each milestone.
        last_epoch: finished epochs less one; -1 begins.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        stairs: int,
        stair_epochs: int,
        milestones: Sequence[int],
        gamma: float,
        last_epoch: int = -1,
    ) -> None:
        self.stairs = stairs
        self.stair_epochs = stair_epochs
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rate of each parameter group; ``last_epoch`` counts epochs from 0."""
        stair = min((self.last_epoch + 1) // self.stair_epochs + 1, self.stairs)
        falls = bisect_right(self.milestones, self.last_epoch)
        return [base * stair / self.stairs * self.gamma**falls for base in self.base_lrs]


def build_lr_scheduler(
    cfg: CfgNode, optimizer: Optimizer, iters_per_epoch: int
) -> dict[str, LRScheduler]:
    """Return the schedules of ``SOLVER.SCHED`` by fastreid's names, ``lr_sched`` and so on."""
    solver = cfg.SOLVER
    if solver.SCHED == "MultiStepLR" and solver.WARMUP_EPOCHS:
        cfg = _with_steps_after_warmup(cfg)
    if solver.SCHED != STAIRS:
        return host_lr_scheduler(cfg, optimizer, iters_per_epoch)
    schedule = StairWarmupLR(
        optimizer,
        stairs=solver.STAIRS.COUNT,
        stair_epochs=solver.STAIRS.EPOCHS,
        milestones=solver.STEPS,
        gamma=solver.GAMMA,
    )
    return {"lr_sched": schedule}


def _with_steps_after_warmup(cfg: CfgNode) -> CfgNode:
    """Count ``SOLVER.STEPS`` as fastreid's trainer does, which steps after the warm-up alone."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.STEPS = [step - cfg.SOLVER.WARMUP_EPOCHS for step in cfg.SOLVER.STEPS]
    cfg.freeze()
    return cfg
