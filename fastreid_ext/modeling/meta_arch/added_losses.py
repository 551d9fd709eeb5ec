"""Registered losses in meta-architectures that compute only fastreid's.

:func:`add_losses` replaces a model's ``losses`` method by an :class:`AddedLosses`, which adds the
terms of ``LOSS_REGISTRY`` that ``MODEL.LOSSES.NAME`` names. In BDB and MGN each branch has its own
term, ``loss_<name>_<branch>``; the branches share the weight in equal parts. Losses with parameters
or buffers become the model's submodule ``added_losses``.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.modeling.losses.registered import HOST_LOSSES, Loss, build_losses
from fastreid_ext.modeling.meta_arch.view_losses import branches_of
from fastreid_ext.registries import LOSS_REGISTRY, registered_names

Losses = dict[str, Tensor]


def add_losses(model: nn.Module, cfg: CfgNode) -> None:
    """Add the losses that users registered and ``MODEL.LOSSES.NAME`` names to a model.

    Raises:
        ValueError: the architecture has no ``losses`` method to add to.
    """
    own = set(registered_names(LOSS_REGISTRY)) - set(HOST_LOSSES)
    names = [name for name in cfg.MODEL.LOSSES.NAME if name in own]
    if not names or getattr(type(model), "builds_losses", False):
        return
    if not callable(getattr(model, "losses", None)):
        raise ValueError(
            f"expected a meta-architecture with losses(outputs, targets) for {', '.join(names)} of "
            f"MODEL.LOSSES.NAME, got {type(model).__name__}, which has none; compute them there "
            "with build_losses(cfg) and set builds_losses = True in the class, or remove the names"
        )
    terms = build_losses(cfg, names)
    modules = {name: term for name, term in terms.items() if isinstance(term, nn.Module)}
    if modules:
        model.add_module("added_losses", nn.ModuleDict(modules).to(model.device))
    model.losses = AddedLosses(model.losses, terms)


class AddedLosses:
    """Losses of a model together with registered losses.

    Example:
        >>> import torch
        >>> def losses(outputs, targets):
        ...     return {"loss_cls": torch.tensor(1.0)}
        >>> def largest(outputs, targets):
        ...     return outputs["features"].max()
        >>> AddedLosses(losses, {"loss_max": largest})({"features": torch.eye(2)}, torch.zeros(2))
        {'loss_cls': tensor(1.), 'loss_max': tensor(1.)}

    Args:
        host: ``losses`` method of the model; its last argument is the targets.
        terms: registered losses by their key, such as "loss_center".
    """

    def __init__(self, host: Callable[..., Losses], terms: Mapping[str, Loss]) -> None:
        self._host = host
        self._terms = dict(terms)
        self.__signature__ = inspect.signature(host)

    def __call__(self, *args: Any, **kwargs: Any) -> Losses:
        """Compute all losses by key, each with its weight; takes the arguments of the host.

        Raises:
            ValueError: a registered loss has the key of another loss.
        """
        losses = dict(self._host(*args, **kwargs))
        *outputs, (_, targets) = self.__signature__.bind(*args, **kwargs).arguments.items()
        branches = [
            branch
            for argument, value in outputs
            for branch in branches_of(value, argument.removesuffix("outputs").strip("_"))
        ]
        for key, term in self._terms.items():
            for branch, value in branches:
                name = f"{key}_{branch}".rstrip("_")
                if name in losses:
                    raise ValueError(
                        f"two losses are called {name}; give the registered one another `name`"
                    )
                losses[name] = term(value, targets) / len(branches)
        return losses
