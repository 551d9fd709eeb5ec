"""Repairs of fastreid's parameter groups and gradient clipping."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


def clip_all_gradients_together() -> None:
    """Let ``SOLVER.CLIP_GRADIENTS`` clip the norm of all gradients, as users of torch expect.

    fastreid clips each group of equal learning rate and decay by itself, so that the bound on the
    whole norm depends on the grouping. With ``CLIP_TYPE value`` it crashes where ``FREEZE_LAYERS``
    has removed the gradients of a group.
    """
    from fastreid.solver import build

    if hasattr(build._generate_optimizer_class_with_gradient_clipping, "_fastreid_ext"):
        return
    host = build._generate_optimizer_class_with_gradient_clipping

    @functools.wraps(host)
    def generate(
        optimizer: type[torch.optim.Optimizer],
        *,
        per_param_clipper: Callable[[Any], None] | None = None,
        global_clipper: Callable[[Any], None] | None = None,
    ) -> type[torch.optim.Optimizer]:
        clip = per_param_clipper or global_clipper
        return host(optimizer, global_clipper=functools.partial(_clip_existing, clip))

    generate._fastreid_ext = True
    build._generate_optimizer_class_with_gradient_clipping = generate


def _clip_existing(clip: Callable[[list[Tensor]], None], parameters: Iterable[Tensor]) -> None:
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    if with_gradient:
        clip(with_gradient)


def honour_no_weight_decay() -> None:
    """Exempt the parameters that a module names in ``no_weight_decay()`` from weight decay.

    timm's models and fastreid's ViT name position embeddings, class tokens and tables of relative
    positions there, whose values have no reason to be small. fastreid ignores the method.
    """
    from fastreid.solver import build

    host = build.get_default_optimizer_params
    if hasattr(host, "_honours_no_weight_decay"):
        return

    @functools.wraps(host)
    def get_default_optimizer_params(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        exempt = {id(parameter) for parameter in _undecayed(model)}
        groups = host(model, *args, **kwargs)
        for group in groups:
            if id(group["params"][0]) in exempt:
                group["weight_decay"] = 0.0
        return groups

    get_default_optimizer_params._honours_no_weight_decay = True
    build.get_default_optimizer_params = get_default_optimizer_params


def _undecayed(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield parameters that some module of the model names in ``no_weight_decay()``."""
    for module in model.modules():
        exempt = getattr(module, "no_weight_decay", None)
        names = set(exempt()) if callable(exempt) else set()
        if names:
            yield from (parameter for name, parameter in module.named_parameters() if name in names)
