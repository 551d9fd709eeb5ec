"""Schedulers of diffusers by class name, with the noise schedule of the base model."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin

# They have the interface but go another way: from an image to noise, or around a painted area.
_OTHER_USES = ("Inverse", "RePaint", "CogVideoX")


def scheduler_names() -> tuple[str, ...]:
    """Return the classes of diffusers that can draw with a Stable Diffusion model, sorted."""
    listed = (name for name in dir(diffusers.schedulers) if name.endswith("Scheduler"))
    return tuple(name for name in sorted(listed) if _can_draw(name))


def make_scheduler(name: str, config: Mapping[str, Any]) -> SchedulerMixin:
    """Return a scheduler for the model whose own scheduler has the configuration ``config``.

    Raises:
        ValueError: there is no such class, or a package is missing that it needs.
    """
    known = scheduler_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        raise ValueError(
            f"GENERATION.SAMPLING.SCHEDULER is '{name}', no scheduler of diffusers "
            f"{diffusers.__version__} for Stable Diffusion; {hint}"
        )
    try:
        return getattr(diffusers, name).from_config(config)
    except ImportError as error:
        raise ValueError(
            f"scheduler '{name}' needs a package that is not installed; install it or choose "
            f"another: {error}"
        ) from error


def _can_draw(name: str) -> bool:
    if any(use in name for use in _OTHER_USES):
        return False
    scheduler = getattr(diffusers, name, None)
    if not (inspect.isclass(scheduler) and issubclass(scheduler, SchedulerMixin)):
        return False  # a placeholder for a package that is missing
    # `beta_start` tells schedules over SD's training steps from flows and EDM's sigmas.
    return "beta_start" in inspect.signature(scheduler.__init__).parameters
