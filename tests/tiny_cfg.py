"""Checked configurations for tests, from keys and values in mappings."""

from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode, get_cfg

from fastreid_ext.checks.table import unread_keys
from fastreid_ext.config import load_config

Keys = Mapping[str, object]


def tiny_cfg(*groups: Keys, file: str | Path = "", **keys: object) -> CfgNode:
    """Load a configuration for the CPU.

    Args:
        groups: values by full key, such as ``{"SOLVER.OPT": "SGD"}``; a later group replaces values
            of an earlier one.
        file: configuration file that the keys change; "" for the defaults.
        keys: values of the last group by key with ``__`` for ``.``, such as ``SOLVER__OPT="SGD"``.
    """
    merged: dict[str, object] = {"MODEL.DEVICE": "cpu"}
    for group in (*groups, dotted(keys)):
        merged |= group
    return load_config(file, key_value_pairs(merged))


def dotted(keys: Keys) -> dict[str, object]:
    """Replace ``__`` in the names of keys by ``.``."""
    return {name.replace("__", "."): value for name, value in keys.items()}


def key_value_pairs(keys: Keys) -> list[str]:
    """List keys and values in turn, as on a command line."""
    return [str(part) for pair in keys.items() for part in pair]


def read_keys(defaults: Keys, changes: Keys) -> dict[str, object]:
    """Merge changes into defaults, without the defaults that nothing reads after the changes.

    :func:`load_config` would refuse these.
    """
    keys = {**defaults, **changes}
    cfg = get_cfg()
    cfg.merge_from_list(key_value_pairs(keys))
    unread = unread_keys(cfg)
    return {key: value for key, value in keys.items() if key in changes or key not in unread}
