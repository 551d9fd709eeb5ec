"""Values that a key may have: the second column of the table of keys.

Each class has ``problem(key, value)``: a message with the mistake and its remedy, "" for an allowed
value.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from fastreid_ext.names import unknown_name


class Allowed(Protocol):
    """Values that a key may have."""

    def problem(self, key: str, value: Any) -> str:
        """Describe the mistake in a value; "" for an allowed value."""
        ...


@dataclasses.dataclass(frozen=True)
class Anything:
    """Every value of the default's type: a path, a text, a list that another check reads."""

    def problem(self, key: str, value: Any) -> str:
        """Accept every value."""
        return ""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two ends.

    Attributes:
        least: lower end; part of the range unless ``is_above``.
        most: upper end; part of the range unless ``is_below``.
        is_above: whether the value must be greater than ``least``.
        is_below: whether the value must be smaller than ``most``.
        also: single values outside the range that have a meaning of their own.
        hint: sentence that follows the message, such as the paper's value.
    """

    least: float = -math.inf
    most: float = math.inf
    is_above: bool = False
    is_below: bool = False
    also: tuple[float, ...] = ()
    hint: str = ""

    def __contains__(self, value: float) -> bool:
        """Tell whether a number lies in the range or is one of ``also``."""
        if value in self.also:
            return True
        is_high = value > self.least if self.is_above else value >= self.least
        is_low = value < self.most if self.is_below else value <= self.most
        return is_high and is_low

    def __str__(self) -> str:
        """Write the range as a part of a message: "in [0, 1)", "of at least 1"."""
        if self.most == math.inf:
            text = f"above {self.least}" if self.is_above else f"of at least {self.least}"
        else:
            left = "(" if self.is_above else "["
            right = ")" if self.is_below else "]"
            text = f"in {left}{self.least}, {self.most}{right}"
        return text + "".join(f", or {value}" for value in self.also)

    def problem(self, key: str, value: Any) -> str:
        """Describe the mistake in a number; "" for an allowed one."""
        if value in self:
            return ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"expected {key} {self}, got {value}{hint}"


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Lists of numbers.

    Attributes:
        counts: lengths that the list may have.
        each: range of each of the numbers.
        what: content of the list, such as "[rows, columns]".
        whole: whether the numbers must be integers.
    """

    counts: tuple[int, ...]
    each: Range
    what: str
    whole: bool = False

    def problem(self, key: str, value: Any) -> str:
        """Describe the mistake in a list; "" for an allowed one."""
        numbers = list(value)
        kind = int if self.whole else (int, float)
        fits = all(isinstance(number, kind) and number in self.each for number in numbers)
        if fits and len(numbers) in self.counts:
            return ""
        return f"expected {key} {self.what} with each number {self.each}, got {numbers}"


@dataclasses.dataclass(frozen=True)
class Names:
    """One name, or a list of names, of those that are known.

    Attributes:
        known: names, or a function that returns them when the check runs (a registry grows).
        may_be_empty: whether "" is allowed, with a meaning of its own.
    """

    known: Iterable[str] | Callable[[], Iterable[str]]
    may_be_empty: bool = False

    def problem(self, key: str, value: Any) -> str:
        """Describe the first unknown name, with the nearest known one."""
        known = list(self.known() if callable(self.known) else self.known)
        names = [value] if isinstance(value, str) else list(value)
        for name in names:
            if str(name) not in known and not (self.may_be_empty and name == ""):
                return unknown_name(key, str(name), known)
        return ""


@dataclasses.dataclass(frozen=True)
class Read:
    """Values that a function judges.

    Attributes:
        judge: function of key and value that describes the mistake in the value, or returns "".
    """

    judge: Callable[[str, Any], str]

    def problem(self, key: str, value: Any) -> str:
        """Describe the mistake in a value by the function."""
        return self.judge(key, value)


ANYTHING = Anything()
SHARE = Range(0, 1)
PROBABILITY = SHARE
COUNT = Range(1)
AT_LEAST_0 = Range(0)
POSITIVE = Range(0, is_above=True)
