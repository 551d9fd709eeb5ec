"""Registered losses in meta-architectures that know only fastreid's.

:func:`add_losses` puts an :class:`AddedLosses` in the place of a model's ``losses`` method, which
adds the terms of ``LOSS_REGISTRY`` that ``MODEL.LOSSES.NAME`` names. In BDB and MGN each branch has
its own term, ``loss_<name>_<branch>``; the branches share the weight in equal parts. Losses with
parameters or buffers become the model's submodule ``added_losses``.
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
    """Let a model compute the losses that users registered and ``MODEL.LOSSES.NAME`` names.

    Raises:
        ValueError: the architecture has no ``losses`` to add to.
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
    """The losses of a model and registered ones.

    Args:
        host: the model's own ``losses``, whose last argument are the targets.
        terms: registered losses by key.
    """

    def __init__(self, host: Callable[..., Losses], terms: Mapping[str, Loss]) -> None:
        self._host = host
        self._terms = dict(terms)
        self.__signature__ = inspect.signature(host)

    def __call__(self, *args: Any, **kwargs: Any) -> Losses:
        """Return all losses by key, each with its weight; arguments are those of the host.

        Raises:
            ValueError: a registered loss has the key of another.
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
