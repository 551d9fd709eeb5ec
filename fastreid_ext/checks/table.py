"""The table of keys: allowed values, and when a key is read, for every key of a configuration."""

import functools
from collections.abc import Collection, Iterator

from fastreid.config import CfgNode, get_cfg

from fastreid_ext.checks import (
    dataloader,
    datasets,
    domains,
    generalisation,
    generation,
    input,
    model,
    pose_guided,
    pose_plan,
    solver,
    test,
    unsupervised,
)
from fastreid_ext.checks.conditions import value_of
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, Range
from fastreid_ext.config.load import flat

_WHOLE_RUN = rows_of(
    "",
    # The upper end is numpy's; every process adds its rank.
    SEED=Range(0, 2**31, is_below=True, also=(-1,), hint="-1 samples a seed at each start"),
    OUTPUT_DIR=ANYTHING,
    CUDNN_BENCHMARK=ANYTHING,
)
_ROWS = [
    *model.ROWS,
    *model.KD_ROWS,
    *input.ROWS,
    *datasets.ROWS,
    *dataloader.ROWS,
    *solver.ROWS,
    *test.ROWS,
    *unsupervised.ROWS,
    *domains.ROWS,
    *generalisation.ROWS,
    *generation.ROWS,
    *pose_guided.ROWS,
    *pose_plan.ROWS,
    *_WHOLE_RUN,
]
TABLE: dict[str, Row] = {row.key: row for row in _ROWS}


def value_problems(cfg: CfgNode) -> list[str]:
    """List the mistakes in single values, each with its remedy."""
    problems = (row.allowed.problem(key, value_of(cfg, key)) for key, row in TABLE.items())
    return [problem for problem in problems if problem]


def unread_keys(cfg: CfgNode) -> list[str]:
    """List the keys that differ from their defaults and are not read in a configuration."""
    return [
        key
        for key, default in _defaults().items()
        if key in TABLE and value_of(cfg, key) != default and not TABLE[key].read.holds(cfg)
    ]


def unread_problems(cfg: CfgNode, keys: Collection[str]) -> Iterator[str]:
    """Describe each key that was set and is not read, with the remedy.

    Args:
        cfg: configuration with automatic values filled in.
        keys: keys that the user has set; others may differ from their defaults unread.
    """
    for key in unread_keys(cfg):
        if key in keys:
            yield f"{describe_unread(cfg, key)}; remove it, or {TABLE[key].read.instead(cfg)}"


def describe_unread(cfg: CfgNode, key: str) -> str:
    """Describe a key that is set but not read, with the reason."""
    return (
        f"{key} is {_shown(value_of(cfg, key))} (default {_shown(_defaults()[key])}) but is not "
        f"read in this configuration, because {TABLE[key].read.because(cfg)}"
    )


def _shown(value: object) -> str:
    return "''" if value == "" else str(value)


@functools.cache
def _defaults() -> dict[str, object]:
    return flat(get_cfg())
