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
        return corrected(getattr(diffusers, name).from_config(config))
    except ImportError as error:
        raise ValueError(
            f"scheduler '{name}' needs a package that is not installed; install it or choose "
            f"another: {error}"
        ) from error


def corrected(scheduler: SchedulerMixin) -> SchedulerMixin:
    """Give a scheduler the settings that ``StableDiffusionPipeline`` gives to its own.

    The configuration of a scheduler of SD states them; one that was built afresh, or an old one,
    clips samples and starts one step off, and the pictures are wrong without a word. A scheduler
    made from a corrected one has its class's defaults again: ``from_config`` drops what was not
    given to the first.
    """
    wrong = {"steps_offset": 1, "clip_sample": False}
    known = {key: value for key, value in wrong.items() if key in scheduler.config}
    if any(scheduler.config[key] != value for key, value in known.items()):
        scheduler.register_to_config(**known)
    return scheduler


def _can_draw(name: str) -> bool:
    if any(use in name for use in _OTHER_USES):
        return False
    scheduler = getattr(diffusers, name, None)
    if not (inspect.isclass(scheduler) and issubclass(scheduler, SchedulerMixin)):
        return False  # a placeholder for a package that is missing
    # `beta_start` tells schedules over SD's training steps from flows and EDM's sigmas.
    return "beta_start" in inspect.signature(scheduler.__init__).parameters
