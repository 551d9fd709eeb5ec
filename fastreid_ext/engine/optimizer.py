"""Build the optimizer: fastreid's parameter groups, changed for parts of the model named by keys.

fastreid copies all parameters of equal rate and decay into one flat buffer (``ContiguousParams``),
which makes a step a few large kernels. A flat buffer knows no other option, so a group of
``SOLVER.PARAM_GROUPS`` with e.g. ``betas`` of its own leaves the parameters where they are, sorted
into one optimizer group for each set of options.
"""

import functools
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver import build as host
from fastreid.utils.params import ContiguousParams
from torch import nn

from fastreid_ext.names import unknown_name

Group = dict[str, Any]
_OWN_KEYS = ("name", "lr_factor", "weight_decay")  # keys of an entry that are no optimizer options
_FLAT_KEYS = {"params", "freeze_status", "lr", "weight_decay"}  # what a flat buffer can tell apart


def build_optimizer(
    cfg: CfgNode, model: nn.Module, *, without: Sequence[str] = ()
) -> tuple[torch.optim.Optimizer, ContiguousParams | list[Group]]:
    """Return ``SOLVER.OPT`` over the trained parameters of a model, as fastreid builds it.

    Args:
        cfg: configuration; ``SOLVER.PARAM_GROUPS`` is read here.
        model: model whose parameters with ``requires_grad`` are trained.
        without: names of parts left to another optimizer, by the rule of ``MODEL.FREEZE_LAYERS``: a
            regular expression for whole names of modules or parameters from the first letter on.

    Returns:
        The optimizer, and fastreid's flat buffers or, where options need it, the groups.

    Raises:
        ValueError: an entry of ``SOLVER.PARAM_GROUPS`` has no name, names nothing, or sets an
            option that the optimizer lacks.
    """
    kind = _optimizer_class(cfg)
    groups = _changed_groups(cfg, model, _host_groups(cfg, model), kind)
    groups = _without(model, groups, without)
    is_flat = all(set(group) <= _FLAT_KEYS for group in groups)
    wrapper = ContiguousParams(groups) if is_flat else _joined(groups)
    solver = cfg.SOLVER
    options = (
        {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV} if solver.OPT == "SGD" else {}
    )
    optimizer = kind(wrapper.contiguous() if is_flat else wrapper, **options)
    # torch's default would cut flat gradients off, see compat.keep_flat_gradients.
    optimizer.zero_grad = functools.partial(optimizer.zero_grad, set_to_none=False)
    return optimizer, wrapper


def _optimizer_class(cfg: CfgNode) -> type[torch.optim.Optimizer]:
    kind = getattr(torch.optim, cfg.SOLVER.OPT)
    return host.maybe_add_freeze_layer(cfg, host.maybe_add_gradient_clipping(cfg, kind))


def _host_groups(cfg: CfgNode, model: nn.Module) -> list[Group]:
    """Return fastreid's groups, one for each parameter."""
    solver = cfg.SOLVER
    return host.get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        heads_lr_factor=solver.HEADS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        freeze_layers=cfg.MODEL.FREEZE_LAYERS if solver.FREEZE_ITERS > 0 else [],
    )


def _changed_groups(
    cfg: CfgNode, model: nn.Module, groups: Iterable[Group], kind: type[torch.optim.Optimizer]
) -> list[Group]:
    """Apply the entries of ``SOLVER.PARAM_GROUPS`` in their order; a later one prevails."""
    changed = [dict(group) for group in groups]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for entry in cfg.SOLVER.PARAM_GROUPS:
        _expect_entry(entry, kind, cfg.SOLVER.OPT)
        pattern = _whole_name(entry["name"])
        chosen = [group for group in changed if pattern.match(names[id(group["params"][0])])]
        if not chosen:
            parts = ", ".join(name for name, _ in model.named_children())
            raise ValueError(
                f"SOLVER.PARAM_GROUPS names '{entry['name']}', but no trained parameter's name "
                f"begins so; give the name of a part of the model, e.g. one of {parts}"
            )
        for group in chosen:
            group["lr"] *= entry.get("lr_factor", 1.0)
            group.update({key: _plain(value) for key, value in entry.items() if _is_option(key)})
    return changed


def _expect_entry(entry: Any, kind: type[torch.optim.Optimizer], name: str) -> None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise ValueError(
            "expected entries like {'name': 'backbone', 'lr_factor': 0.1} in SOLVER.PARAM_GROUPS, "
            f"got {entry!r}; add the name of a part of the model"
        )
    options = [key for key in inspect.signature(kind).parameters if key not in ("params", "lr")]
    known = sorted({*_OWN_KEYS, *options})
    for key in entry:
        if key not in known:
            where = f"SOLVER.PARAM_GROUPS '{entry['name']}' under SOLVER.OPT {name}"
            raise ValueError(unknown_name(where, key, known))


def _is_option(key: str) -> bool:
    return key not in ("name", "lr_factor")


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # betas: YAML has no tuples


def _without(model: nn.Module, groups: list[Group], without: Sequence[str]) -> list[Group]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    patterns = [_whole_name(name) for name in without]
    return [
        group
        for group in groups
        if not any(pattern.match(names[id(group["params"][0])]) for pattern in patterns)
    ]


def _whole_name(name: str) -> re.Pattern:
    return re.compile(rf"(?:{name})(?:\.|$)")


def _joined(groups: Iterable[Group]) -> list[Group]:
    """Join groups of equal options, so that a step is a few kernels over lists of tensors."""
    joined: dict[str, Group] = {}
    for group in groups:
        options = {key: value for key, value in group.items() if key != "params"}
        own = joined.setdefault(repr(sorted(options.items())), {**options, "params": []})
        own["params"] += group["params"]
    return list(joined.values())
