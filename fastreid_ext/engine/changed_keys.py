"""Compare the configuration of a run with the one that is kept of it."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastreid.config import CfgNode, get_cfg

from fastreid_ext.engine.results import plain

_FILLED_IN: dict[str, Callable[[CfgNode], bool]] = {
    # Runs older than its default "" recorded "float16", also where nothing read it.
    "SOLVER.AMP.DTYPE": lambda cfg: not cfg.SOLVER.AMP.ENABLED,
    "MODEL.HEADS.NUM_CLASSES": lambda cfg: cfg.MODEL.HEADS.NUM_CLASSES == 0,
    "SOLVER.WARMUP_ITERS": lambda cfg: cfg.SOLVER.WARMUP_EPOCHS > 0,
}


@dataclasses.dataclass(frozen=True)
class ChangedKey:
    """One key with two values.

    Attributes:
        key: name with its sections, ``SOLVER.BASE_LR``.
        before: value in the kept configuration.
        now: value in the configuration of this command.
    """

    key: str
    before: Any
    now: Any

    def is_in(self, keys: tuple[str, ...]) -> bool:
        """Whether ``keys`` names this key, or ends a name with a dot that is a section of it."""
        return any(
            self.key.startswith(name) if name.endswith(".") else self.key == name for name in keys
        )

    def __str__(self) -> str:
        return f"{self.key}: was {self.before!r}, is {self.now!r}"


def changed_keys(before: Mapping[str, Any], now: CfgNode) -> list[ChangedKey]:
    """Find the keys whose values differ, in the order of their names.

    A key that the kept configuration lacks is younger than it and had its default's effect; a key
    that exists no more is left out. So are the number of classes and the iterations of warm-up
    where ``now`` leaves them to the training data, and the dtype of mixed precision without that.

    Args:
        before: kept configuration as dictionaries and lists, see :func:`results.plain`.
        now: configuration of the present command.
    """
    defaults = dict(_flat(plain(get_cfg())))
    kept = {**defaults, **dict(_flat(before))}
    ours = dict(_flat(plain(now)))
    filled_in = [name for name, is_open in _FILLED_IN.items() if is_open(now)]
    return [
        ChangedKey(key, kept[key], ours[key])
        for key in sorted(ours.keys() & kept.keys() - filled_in)
        if _as_json(kept[key]) != _as_json(ours[key])
    ]


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_json(value: Any) -> str:
    """Write a value so that a tuple equals a list, but 1 differs from 1.0 and True."""
    return json.dumps(value, sort_keys=True, default=str)
