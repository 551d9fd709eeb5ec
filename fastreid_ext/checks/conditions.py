"""Conditions under which a key is read: the third column of the table of keys."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from fastreid.config import CfgNode

Say = Callable[[CfgNode], str]


def value_of(cfg: CfgNode, key: str) -> Any:
    """Return the value of a key such as "SOLVER.AMP.ENABLED"."""
    node = cfg
    for part in key.split("."):
        node = node[part]
    return node


@dataclasses.dataclass(frozen=True)
class Condition:
    """State of a configuration, with words for the case that it does not hold.

    Attributes:
        holds: function that tells whether a configuration fulfils the condition.
        because: function that writes why it does not, such as "INPUT.CJ.ENABLED is False".
        instead: function that writes what would fulfil it, such as "set INPUT.CJ.ENABLED True".
    """

    holds: Callable[[CfgNode], bool]
    because: Say
    instead: Say

    def __and__(self, other: "Condition") -> "Condition":
        """Require both; the first that does not hold is named."""

        def first(cfg: CfgNode) -> Condition:
            return other if self.holds(cfg) else self

        return Condition(
            lambda cfg: self.holds(cfg) and other.holds(cfg),
            lambda cfg: first(cfg).because(cfg),
            lambda cfg: first(cfg).instead(cfg),
        )

    def __or__(self, other: "Condition") -> "Condition":
        """Require one of two; both are named."""
        return Condition(
            lambda cfg: self.holds(cfg) or other.holds(cfg),
            lambda cfg: f"{self.because(cfg)} and {other.because(cfg)}",
            lambda cfg: f"{self.instead(cfg)}, or {other.instead(cfg)}",
        )


ALWAYS = Condition(lambda cfg: True, lambda cfg: "", lambda cfg: "")


def never(because: str) -> Condition:
    """Build the condition of a key that nothing reads.

    Args:
        because: reason why nothing reads it.
    """
    return Condition(lambda cfg: False, lambda cfg: because, lambda cfg: "leave it at its default")


def is_on(section: str) -> Condition:
    """Require that a section's ENABLED is True."""
    return is_any_of(f"{section}.ENABLED", True)


def is_any_of(key: str, *values: Any, known: Collection[Any] = ()) -> Condition:
    """Require that a key has one of some values.

    Args:
        key: full name of the key, such as "SOLVER.OPT".
        values: values that fulfil the condition.
        known: values that fastreid and fastreid_ext define; others, which a user has registered,
            fulfil the condition too. () = no value is the user's.
    """

    def holds(cfg: CfgNode) -> bool:
        value = value_of(cfg, key)
        return value in values or (bool(known) and value not in known)

    return Condition(
        holds,
        lambda cfg: f"{key} is {_quoted(value_of(cfg, key))}",
        lambda cfg: f"set {key} {' or '.join(_quoted(value) for value in values)}",
    )


def is_none_of(key: str, *values: Any, instead: str) -> Condition:
    """Require that a key has none of some values.

    Args:
        key: full name of the key, such as "SOLVER.OPT".
        values: values that do not fulfil the condition.
        instead: advice that would fulfil the condition.
    """
    return Condition(
        lambda cfg: value_of(cfg, key) not in values,
        lambda cfg: f"{key} is {_quoted(value_of(cfg, key))}",
        lambda cfg: instead,
    )


def is_above(key: str, least: float = 0) -> Condition:
    """Require that a number is greater than ``least``."""
    return Condition(
        lambda cfg: value_of(cfg, key) > least,
        lambda cfg: f"{key} is {value_of(cfg, key)}",
        lambda cfg: f"set {key} above {least}",
    )


def is_filled(key: str) -> Condition:
    """Require that a text or a list is not empty."""
    return Condition(
        lambda cfg: len(value_of(cfg, key)) > 0,
        lambda cfg: f"{key} is empty",
        lambda cfg: f"fill {key}",
    )


def has_any_of(key: str, *names: str) -> Condition:
    """Require that a list holds one of some names."""
    return Condition(
        lambda cfg: any(name in value_of(cfg, key) for name in names),
        lambda cfg: f"{key} has no {' or '.join(names)}",
        lambda cfg: f"add {' or '.join(names)} to {key}",
    )


def _quoted(value: Any) -> str:
    return "''" if value == "" else str(value)
