"""Configurations in which all keys of a section differ from their defaults."""

from typing import Any

import numpy as np
from fastreid.config import CfgNode, get_cfg

from fastreid_ext.checks.conditions import value_of
from fastreid_ext.config.load import flat


def configured(section: str, changes: dict[str, Any], **others: Any) -> CfgNode:
    """Merge values that differ from the defaults: keys of a section, and others by full key."""
    cfg = get_cfg()
    before = flat(get_cfg())
    pairs = {f"{section}.{key}": value for key, value in changes.items()} | others
    for key, value in pairs.items():
        assert key not in before or value != before[key] or key in others, f"{key} is the default"
    cfg.merge_from_list([part for pair in pairs.items() for part in pair])
    return cfg


def keys_of(section: str) -> set[str]:
    """List the keys below a section."""
    return set(flat(value_of(get_cfg(), section)))


def attributes(made: Any) -> dict[str, Any]:
    """Read the attributes of an object, arrays as lists."""
    if isinstance(made, dict):
        return made
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(made).items()
        if not name.startswith("__")
    }
