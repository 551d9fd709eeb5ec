"""Attach a diffusion branch to any meta-architecture that yields logits of the training identities.

:func:`attach` replaces the model's ``losses`` method by :class:`DiffusionLosses`, which adds
``loss_diffusion``, and makes the branch the model's submodule ``diffusion_branch``. Evaluation is
as before. In BDB and MGN, which have a classifier for each branch of their heads, the condition is
computed from the mean of their logits: one distribution over the identities, whose gradient
reaches every classifier.

Letters: B batch, N training identities, D dimension of a feature, c x h x w a latent.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.diffusion_branch.branch import DiffusionBranch
from fastreid_ext.modeling.meta_arch.view_losses import FEATURES, LOGITS, branches_of

Losses = dict[str, Tensor]
NAME = "diffusion_branch"


def attach(model: nn.Module, branch: DiffusionBranch, scale: float) -> None:
    """Add a branch to a model, in place.

    Args:
        model: meta-architecture with ``losses(outputs, targets)``.
        branch: diffusion branch on the device of the model.
        scale: weight lambda of the denoising loss.

    Raises:
        ValueError: the architecture has no ``losses`` method.
    """
    if not callable(getattr(model, "losses", None)):
        raise ValueError(
            "expected a meta-architecture with losses(outputs, targets) for MODEL.DIFFUSION, got "
            f"{type(model).__name__}, which has none; set MODEL.DIFFUSION.ENABLED False"
        )
    losses = DiffusionLosses(model.losses, branch, scale)
    model.add_module(NAME, branch)
    model.losses = losses
    model.register_forward_pre_hook(losses.remember)


class DiffusionLosses:
    """Losses of a model together with the denoising loss of its diffusion branch.

    Args:
        host: ``losses`` method of the model; its last argument is the targets.
        branch: diffusion branch of the model.
        scale: weight lambda of the denoising loss.
    """

    def __init__(self, host: Callable[..., Losses], branch: DiffusionBranch, scale: float) -> None:
        self._host = host
        self._branch = branch
        self._scale = scale
        self._batch: Mapping[str, Any] = {}
        self.__signature__ = inspect.signature(host)

    def remember(self, model: nn.Module, inputs: tuple) -> None:
        """Keep latents or clean images of a training batch; a forward pre-hook of the model."""
        batch = inputs[0] if model.training and inputs else {}
        self._batch = batch if isinstance(batch, Mapping) else {}

    def __call__(self, *args: Any, **kwargs: Any) -> Losses:
        """Compute the losses by name, each with its weight; takes the arguments of the host.

        Raises:
            ValueError: the batch has neither latents nor clean images, or the head no logits.
        """
        losses = dict(self._host(*args, **kwargs))
        *outputs, (_, targets) = self.__signature__.bind(*args, **kwargs).arguments.items()
        branches = [branch for name, value in outputs for _, branch in branches_of(value, name)]
        latents = self._latents()
        self._batch = {}
        loss = self._branch(
            mean_logits(branches), joined_features(branches), targets, latents.to(targets.device)
        )
        losses["loss_diffusion"] = self._scale * loss
        return losses

    def _latents(self) -> Tensor:
        if "latents" in self._batch:
            return self._batch["latents"]
        if "clean_images" in self._batch:
            return self._branch.latents_of(self._batch["clean_images"])
        raise ValueError(
            "expected 'latents' or 'clean_images' in a batch under MODEL.DIFFUSION, got "
            f"{sorted(self._batch)}; set INPUT.CLEAN_VIEW.SIZE, e.g. [128, 128]"
        )


def mean_logits(branches: list[Mapping[str, Tensor]]) -> Tensor:
    """Average the logits (B, N) over the classifiers of a head.

    Raises:
        ValueError: no output of the head holds logits.

    Example:
        >>> outputs = {"pred_class_logits": torch.tensor([[1.0, 3.0]])}
        >>> mean_logits([outputs, {"pred_class_logits": torch.tensor([[3.0, 5.0]])}])
        tensor([[2., 4.]])
    """
    logits = [branch[LOGITS] for branch in branches if LOGITS in branch]
    if not logits:
        raise ValueError(
            f"expected an output '{LOGITS}' of the head for the diffusion branch, as fastreid's "
            f"heads have, got {[sorted(branch) for branch in branches]}"
        )
    return torch.stack(logits).mean(dim=0)


def joined_features(branches: list[Mapping[str, Tensor]]) -> Tensor:
    """Join the features of a head's branches to (B, D), as its evaluation does."""
    return torch.cat([branch[FEATURES] for branch in branches if FEATURES in branch], dim=1)
