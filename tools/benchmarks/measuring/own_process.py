"""Measure in a process of its own, whose memory holds nothing else."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def measured_alone(measure: Callable[..., None], *arguments: Any) -> Any:
    """Run a measurement in a spawned process, and return what it sends.

    Args:
        measure: function of an importable module that sends one result through its first argument,
            a ``Connection``.
        arguments: further arguments of the function.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_closing, args=(theirs, measure, *arguments))
    process.start()
    theirs.close()  # so that a measurement that dies is an EOFError here
    found = ours.recv()
    process.join()
    return found


def _closing(pipe: Connection, measure: Callable[..., None], *arguments: Any) -> None:
    with pipe:
        measure(pipe, *arguments)
