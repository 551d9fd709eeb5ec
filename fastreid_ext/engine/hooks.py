"""Hooks of the trainer that replace or add to fastreid's."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from fastreid.engine.hooks import HookBase
from fastreid.evaluation.testing import flatten_results_dict
from fastreid.utils import comm
from fastreid.utils.events import EventWriter

from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.resume import capture_random_state

logger = logging.getLogger(__name__)

LATEST = "model_latest"  # checkpoint of an epoch that is evaluated but not kept

# Keys of a checkpoint that no hook may have.
_OTHER_KEYS = {
    *("model", "epoch", "iteration", "skipped_steps", "run", "metric", "best_metric"),
    *("loader", "config", "evaluation_pending", "random_states"),
}

# float16 loss scaling starts at 65536 and halves at every overflow, each a step without update.
_SKIPS_BEFORE_ALARM = 30


class GradientCheck(HookBase):
    """Stop a run that does not learn, after its first steps.

    Asks of every optimizer group that is neither frozen nor at learning rate 0: does it have a
    gradient, is it finite and not all zero, have the parameters moved?

    Args:
        steps: applied updates after which to ask; 0 = never.
        freeze_iters: steps for which groups with status "freeze" must not move.
    """

    def __init__(self, steps: int, freeze_iters: int) -> None:
        self._remaining = steps
        self._steps = steps
        self._freeze_iters = freeze_iters
        self._attempts = 0
        self._before: dict[int, list[torch.Tensor]] = {}

    def before_step(self) -> None:
        """Remember parameters before the first step."""
        if self._remaining and not self._before:
            for index, group in self._groups_expected_to_move():
                self._before[index] = [p.detach().clone() for p in group["params"]]

    def after_step(self) -> None:
        """Count applied updates and ask once there are enough."""
        if not self._remaining:
            return
        self._attempts += 1
        if self.trainer.step_applied:
            self._remaining -= 1
        elif self._attempts > self._steps + _SKIPS_BEFORE_ALARM:
            raise RuntimeError(
                f"expected {self._steps} updates in the first {self._attempts} steps, got "
                f"{self._steps - self._remaining}: gradients overflow or losses are not finite; "
                "turn SOLVER.AMP off or lower SOLVER.BASE_LR"
            )
        if not self._remaining:
            self._ask()
            self._before.clear()

    def _groups_expected_to_move(self) -> list[tuple[int, dict[str, Any]]]:
        freezing = self.trainer.iter < self._freeze_iters
        return [
            (index, group)
            for index, group in enumerate(self.trainer.optimizer.param_groups)
            if group["lr"] > 0 and not (freezing and group.get("freeze_status") == "freeze")
        ]

    def _ask(self) -> None:
        groups = self.trainer.optimizer.param_groups
        for index, before in self._before.items():
            seen = what_is_wrong(groups[index]["params"], before)
            if seen:
                raise RuntimeError(
                    f"nothing is learned: after {self._steps} steps expected finite gradients and "
                    f"moved parameters in optimizer group {index} (learning rate "
                    f"{groups[index]['lr']:g}, {sum(p.numel() for p in before)} values), got {seen}"
                )


def what_is_wrong(parameters: list[torch.Tensor], before: list[torch.Tensor]) -> str:
    """Name what is wrong with a group and its likely cause; "" if all is well."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    moved = any(not torch.equal(p, old) for p, old in zip(parameters, before, strict=True))
    movement = "moved" if moved else "unchanged"
    if not gradients:
        return (
            f"no gradient (parameters {movement}); likely cause: zero_grad(set_to_none=True), "
            "torch's default, has detached fastreid's flat gradient buffers from the optimizer; "
            "import fastreid_ext before fastreid, or call zero_grad(set_to_none=False)"
        )
    if not all(torch.isfinite(gradient).all() for gradient in gradients):
        return (
            f"NaN or infinite gradients (parameters {movement}); likely cause: a learning rate or "
            "loss weight far too high, or a loss without an epsilon"
        )
    if not any(gradient.any() for gradient in gradients):
        return (
            f"gradients that are all zero (parameters {movement}); likely cause: no loss in "
            "MODEL.LOSSES.NAME depends on these parameters"
        )
    if not moved:
        return (
            "gradients but unchanged parameters; likely cause: the optimizer holds other tensors "
            "than the model, or SOLVER.BASE_LR is too small for float32"
        )
    return ""


class PeriodicEvaluation(HookBase):
    """Evaluate every ``period`` epochs and after the last one; 0 = never.

    fastreid evaluates the last epoch after writing ``model_final``, even if training has failed,
    and divides by a period of 0.

    Args:
        period: number of epochs between evaluations.
        evaluate: returns fastreid's results: metrics, or metrics by test set; {} off the main
            process. Called on all processes.
        before: called on all processes before each evaluation, which may fail.
    """

    def __init__(
        self, period: int, evaluate: Callable[[], dict[str, Any]], before: Callable[[], None]
    ) -> None:
        self._period = period
        self._before = before
        self._evaluate = evaluate

    def after_epoch(self) -> None:
        """Evaluate if this epoch is due and store the metrics."""
        if not is_due(self.trainer, self._period):
            return
        self._before()
        results = flatten_results_dict(self._evaluate())
        for name, value in results.items():
            self.trainer.storage.put_scalar(name, float(value), smoothing_hint=False)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        comm.synchronize()  # processes take different time; start the next epoch together


class PeriodicWriting(HookBase):
    """Write metrics every ``period`` iterations and at the end of each epoch.

    The last iteration of an epoch waits for the epoch's evaluation: a JSON writer writes each
    iteration once, and fastreid loses the evaluation when the two coincide.

    Args:
        build_writers: called when training starts, so that old files can be trimmed before.
        period: number of iterations between two lines.
    """

    def __init__(self, build_writers: Callable[[], list[EventWriter]], period: int) -> None:
        self._build_writers = build_writers
        self._period = period
        self._writers: list[EventWriter] = []

    def before_train(self) -> None:
        """Open the writers."""
        self._writers = self._build_writers()

    def after_step(self) -> None:
        """Write if due."""
        done = self.trainer.iter + 1
        if done % self._period == 0 and done % self.trainer.iters_per_epoch != 0:
            self._write()

    def after_epoch(self) -> None:
        """Write what the epoch left."""
        self._write()

    def after_train(self) -> None:
        """Close the files."""
        for writer in self._writers:
            writer.close()

    def _write(self) -> None:
        for writer in self._writers:
            writer.write()


class PeriodicCheckpoints(HookBase):
    """Write ``model_<epoch>`` every ``period`` epochs, ``model_final``, and ``model_best``.

    The best model is the one with the highest ``metric`` of the first test set, compared when that
    was evaluated in the same epoch. An epoch that is evaluated is saved before and after: an
    unreadable test image or Ctrl-C during the evaluation costs no training. If no checkpoint is due
    then, the file is ``model_latest``, which lives until the next checkpoint. Registered on every
    process, because the checkpoint holds the random state of all.

    Args:
        checkpointer: writes on the main process only.
        period: epochs between two checkpoints; 0 = after the last epoch only.
        evaluation_period: epochs between two evaluations; 0 = never.
        metric_name: key of the metric in the event storage.
    """

    def __init__(
        self,
        checkpointer: AtomicCheckpointer,
        period: int,
        evaluation_period: int,
        metric_name: str,
    ) -> None:
        self._checkpointer = checkpointer
        self._period = period
        self._evaluation_period = evaluation_period
        self._metric_name = metric_name
        self.best_metric = -1.0  # highest metric of this run so far, in percent

    def before_evaluation(self) -> None:
        """Save what was trained; a run resumed from this file evaluates first."""
        self._save(self._name(), evaluation_pending=True)

    def after_epoch(self) -> None:
        """Save what is due."""
        metric, at = self.trainer.storage.latest().get(self._metric_name, (-1.0, -1))
        is_best = at == self.trainer.storage.iter and metric > self.best_metric
        if is_best:
            self.best_metric = metric
        # What is best is known on the main process only, but all must send their random state.
        if any(comm.all_gather(is_best)):
            self._save("model_best", tag=False, metric=metric)
        if self._is_kept() or is_due(self.trainer, self._evaluation_period):
            self._save(self._name(), metric=metric)

    def _save(
        self, name: str, *, tag: bool = True, evaluation_pending: bool = False, **extra: Any
    ) -> None:
        state = {**self.trainer.state(), "best_metric": self.best_metric, **extra}
        state["evaluation_pending"] = evaluation_pending
        state["random_states"] = comm.all_gather(capture_random_state())
        self._checkpointer.save(name, tag=tag, **state)
        if tag and name != LATEST:
            self._checkpointer.remove(LATEST)

    def _is_kept(self) -> bool:
        is_last = self.trainer.epoch + 1 == self.trainer.max_epoch
        return is_last or is_due(self.trainer, self._period)

    def _name(self) -> str:
        if self.trainer.epoch + 1 == self.trainer.max_epoch:
            return "model_final"
        return f"model_{self.trainer.epoch:04d}" if self._is_kept() else LATEST


def is_due(trainer: Any, period: int) -> bool:
    """Whether something that happens every ``period`` epochs, and after the last, is due now.

    Args:
        trainer: trainer at the end of an epoch.
        period: number of epochs between two events; 0 = never.
    """
    finished = trainer.epoch + 1
    return period > 0 and (finished == trainer.max_epoch or finished % period == 0)


def save_state_of_hooks(hooks: Iterable[HookBase], checkpointables: dict[str, Any]) -> None:
    """Put every hook that has a state among the checkpointables, in place.

    Args:
        hooks: all hooks of a trainer.
        checkpointables: objects with a state by their key in the checkpoint.

    Raises:
        ValueError: a hook with a state has no ``checkpoint_name``, or that of something else.
    """
    for hook in hooks:
        if not hasattr(hook, "state_dict"):
            continue
        name = getattr(hook, "checkpoint_name", "")
        if not name or name in {*checkpointables, *_OTHER_KEYS}:
            raise ValueError(
                f"expected a checkpoint_name of its own on the hook {type(hook).__name__}, "
                f"which has a state_dict, got '{name}'; give its class one"
            )
        checkpointables[name] = hook
