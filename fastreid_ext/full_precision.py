"""Computation in float32 or wider, whatever autocast and the precision of the inputs."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Convert half-precision numbers to float32, and leave wider ones as they are.

    Example:
        >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
        torch.float32
        >>> at_least_float32(torch.ones(2, dtype=torch.float64)).dtype
        torch.float64
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def in_full_precision(function: Callable) -> Callable:
    """Decorate a function of tensors so that it computes in float32 or wider.

    Half-precision tensors among the arguments (also inside lists and tuples) are converted, and
    autocast is off on their device. Tensors that the function takes from elsewhere stay as they
    are. Every loss needs this: squared norms of features leave the range of float16 at norm 256,
    and bfloat16 has three digits too few for differences of distances.

    Example:
        >>> @in_full_precision
        ... def squared_norm(feature):
        ...     return feature.square().sum()
        >>> squared_norm(torch.full((4,), 300.0, dtype=torch.float16))
        tensor(360000.)
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        args = [_converted(argument) for argument in args]
        kwargs = {name: _converted(argument) for name, argument in kwargs.items()}
        device_types = {tensor.device.type for tensor in _tensors([*args, *kwargs.values()])}
        with contextlib.ExitStack() as stack:
            for device_type in device_types:
                # Devices such as "meta" have no autocast, and refuse to switch it off.
                if torch.amp.is_autocast_available(device_type):
                    stack.enter_context(torch.autocast(device_type, enabled=False))
            return function(*args, **kwargs)

    return wrapped


def _converted(argument: Any) -> Any:
    if isinstance(argument, Tensor) and argument.is_floating_point():
        return at_least_float32(argument)
    if type(argument) in (list, tuple):
        return type(argument)(_converted(part) for part in argument)
    return argument


def _tensors(arguments: Any) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif type(argument) in (list, tuple):
            yield from _tensors(argument)
