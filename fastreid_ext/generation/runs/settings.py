"""Read settings, a frozen dataclass, from the keys of a configuration."""

import dataclasses
from typing import Any, TypeVar

from fastreid.config import CfgNode

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], node: CfgNode, **others: Any) -> Settings:
    """Read each field of a dataclass from the key of its name; lists become tuples.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Crops:
        ...     seed: int
        ...     size: tuple[int, int]
        >>> read_settings(Crops, CfgNode({"SIZE": [64, 32], "COUNT": 2}), seed=5)
        Crops(seed=5, size=(64, 32))

    Args:
        kind: dataclass whose fields are named like keys of ``node``, in lower case.
        node: keys of a section of the configuration, of which others may be unused.
        others: values of the fields that come from elsewhere.
    """
    names = [field.name for field in dataclasses.fields(kind) if field.name not in others]
    values = {name: _plain(node[name.upper()]) for name in names}
    return kind(**values, **others)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
