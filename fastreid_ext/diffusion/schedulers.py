"""Schedulers of diffusers by class name, with the noise schedule of the base model."""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import SchedulerMixin

from fastreid_ext.names import unknown_name

# They share the interface but do something else: invert an image to noise, or inpaint.
_OTHER_USES = ("Inverse", "RePaint", "CogVideoX")


def scheduler_names() -> tuple[str, ...]:
    """List the classes of diffusers that can sample from a Stable Diffusion model, sorted."""
    listed = (name for name in dir(diffusers.schedulers) if name.endswith("Scheduler"))
    return tuple(name for name in sorted(listed) if _can_sample(name))


def make_scheduler(name: str, config: Mapping[str, Any]) -> SchedulerMixin:
    """Build a scheduler with the noise schedule of a model.

    Args:
        name: class name of a scheduler of diffusers.
        config: configuration of the model's own scheduler.

    Raises:
        ValueError: unknown class, or a class that needs a missing package.
    """
    known = scheduler_names()
    if name not in known:
        key = "GENERATION.SAMPLING.SCHEDULER"
        raise ValueError(
            f"{unknown_name(key, name, known)} (of diffusers {diffusers.__version__}, for Stable "
            "Diffusion)"
        )
    try:
        return with_pipeline_defaults(getattr(diffusers, name).from_config(config))
    except ImportError as error:
        raise ValueError(
            f"scheduler '{name}' needs a package that is not installed; install it or choose "
            f"another: {error}"
        ) from error


def with_pipeline_defaults(scheduler: SchedulerMixin) -> SchedulerMixin:
    """Set, in place, the options that ``StableDiffusionPipeline`` sets on its own scheduler.

    The configuration files of SD contain them. A scheduler built from scratch, or from an old file,
    clips samples and starts one step off, and its images are silently wrong. Call this after each
    ``from_config``, which restores the defaults of the class.
    """
    options = {"steps_offset": 1, "clip_sample": False}
    known = {key: value for key, value in options.items() if key in scheduler.config}
    if any(scheduler.config[key] != value for key, value in known.items()):
        scheduler.register_to_config(**known)
    return scheduler


def _can_sample(name: str) -> bool:
    if any(use in name for use in _OTHER_USES):
        return False
    scheduler = getattr(diffusers, name, None)
    if not (inspect.isclass(scheduler) and issubclass(scheduler, SchedulerMixin)):
        return False  # a placeholder for a package that is missing
    # `beta_start` tells schedules over SD's training steps from flows and EDM's sigmas.
    return "beta_start" in inspect.signature(scheduler.__init__).parameters
