"""Train a Re-ID model with the feedback of a diffusion model, which evaluation does not need.

DCAC's method; ``MODEL.DIFFUSION`` has its keys. diffusers is imported where a configuration asks
for a branch.
"""

import contextlib
from collections.abc import Iterator

from fastreid.config import CfgNode
from torch import nn


def add_diffusion_branch(model: nn.Module, cfg: CfgNode) -> None:
    """Attach the branch of ``MODEL.DIFFUSION`` to a model, in place, where it is enabled.

    Raises:
        FileNotFoundError: the diffusion model is neither here nor in the hub's cache.
        ImportError: diffusers or peft is not installed.
        ValueError: the diffusion model is of an unsupported kind, or the architecture has no
            ``losses`` method.
    """
    keys = cfg.MODEL.DIFFUSION
    if not keys.ENABLED:
        return
    with naming_missing_packages():
        from fastreid_ext.modeling.diffusion_branch.attached import attach
        from fastreid_ext.modeling.diffusion_branch.parts import build_branch
    attach(model, build_branch(cfg), keys.SCALE)


@contextlib.contextmanager
def naming_missing_packages() -> Iterator[None]:
    """Turn a failed import of the diffusion branch into an ImportError that says what to do."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            "MODEL.DIFFUSION needs diffusers and peft; install them with "
            f"`pip install fastreid_ext[generation]` ({error})"
        ) from error
