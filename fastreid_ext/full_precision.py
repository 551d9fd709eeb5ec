"""Computing in float32 at least, whatever autocast and the precision of the inputs."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


def in_full_precision(function: Callable) -> Callable:
    """Decorate a function of tensors so that it computes in float32 at least.

    Half-precision tensors among the arguments (also inside lists and tuples) are widened, and
    autocast is off on their device. Tensors that the function takes from elsewhere stay as they
    are. Squared norms of features leave the range of float16 at norm 256, and bfloat16 has three
    digits too few for differences of distances, so every loss needs this.

    Example:
        >>> @in_full_precision
        ... def squared_norm(feature):
        ...     return feature.square().sum()
        >>> squared_norm(torch.full((4,), 300.0, dtype=torch.float16))
        tensor(360000.)
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        args = [_widened(argument) for argument in args]
        kwargs = {name: _widened(argument) for name, argument in kwargs.items()}
        with contextlib.ExitStack() as stack:
            for device_type in {
                tensor.device.type for tensor in _tensors([*args, *kwargs.values()])
            }:
                # Devices such as "meta" have no autocast, and refuse to switch it off.
                if torch.amp.is_autocast_available(device_type):
                    stack.enter_context(torch.autocast(device_type, enabled=False))
            return function(*args, **kwargs)

    return wrapped


def _widened(argument: Any) -> Any:
    if isinstance(argument, Tensor) and argument.is_floating_point():
        return argument.to(torch.promote_types(argument.dtype, torch.float32))
    if type(argument) in (list, tuple):
        return type(argument)(_widened(part) for part in argument)
    return argument


def _tensors(arguments: Any) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif type(argument) in (list, tuple):
            yield from _tensors(argument)
