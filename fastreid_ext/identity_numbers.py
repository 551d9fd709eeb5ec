"""Allowed range of the numbers of identities and cameras, one for all readers."""

import operator
from typing import Any

UNKNOWN = -1  # junk images of Market-1501, an unknown camera
LARGEST = 2**63 - 1  # labels are int64 everywhere


def number_problem(value: Any, what: str, *, lowest: int = 0) -> str:
    """Describe a number that is out of range.

    Args:
        value: whole number, or its text in ASCII digits.
        what: name of the number in the message, such as a column.
        lowest: smallest allowed number; :data:`UNKNOWN` where junk may occur.

    Returns:
        Range and value in words that continue "expected "; "" for a number within
        ``[lowest, LARGEST]``.

    Example:
        >>> number_problem("0012", "person_id")
        ''
        >>> number_problem(-2, "person_id", lowest=-1)
        "a whole number from -1 to 9223372036854775807 as person_id, got '-2'"
    """
    if lowest <= _number(value) <= LARGEST:
        return ""
    return f"a whole number from {lowest} to {LARGEST} as {what}, got '{value}'"


def _number(value: Any) -> int:
    """Convert a value to a number, beyond the range if it is none."""
    if not isinstance(value, str):
        try:
            return operator.index(value)
        except TypeError:
            return LARGEST + 1
    digits = value.removeprefix("-").lstrip("0") or "0" * ("0" in value)
    is_whole = digits.isascii() and digits.isdecimal()
    # Python refuses to convert texts of thousands of digits.
    if not is_whole or len(digits) > len(str(LARGEST)):
        return LARGEST + 1
    return -int(digits) if value.startswith("-") else int(digits)
