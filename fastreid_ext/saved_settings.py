"""Refuse to continue work that was begun with other settings."""

from collections.abc import Mapping
from typing import Any

_LONGEST = 60  # characters of a value in the message


def expect_same(
    before: Mapping[str, Any], now: Mapping[str, Any], *, found: str, advice: str
) -> None:
    """Check that saved settings equal those of this run.

    Args:
        before: settings that the existing files were made with.
        now: settings of this run; values are compared with ``==``, a missing key counts as None.
        found: start of the message that names the existing files and that they are other ones.
        advice: end of the message that says what the user can do.

    Raises:
        ValueError: values differ; the message lists each key with both values.

    Example:
        >>> expect_same({"SEED": 1}, {"SEED": 2}, found="a/ holds another run", advice="remove it")
        Traceback (most recent call last):
        ValueError: a/ holds another run (SEED was 1, is 2); remove it
    """
    changes = [
        f"{key} was {_shown(before.get(key))}, is {_shown(now.get(key))}"
        for key in sorted({**before, **now})
        if before.get(key) != now.get(key)
    ]
    if changes:
        raise ValueError(f"{found} ({'; '.join(changes)}); {advice}")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
