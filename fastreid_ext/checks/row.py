"""One row of the table of keys."""

import dataclasses

from fastreid_ext.checks.conditions import ALWAYS, Condition
from fastreid_ext.checks.values import Allowed


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of one key.

    Attributes:
        key: full name, such as "INPUT.CJ.PROB".
        allowed: values that the key may have.
        read: condition under which anything reads the key.
        is_part_of_the_method: a key without which a recipe is another method; where it is not
            read, a warning says so even if a ``_BASE_`` file has set it.
    """

    key: str
    allowed: Allowed
    read: Condition = ALWAYS
    is_part_of_the_method: bool = False


def rows_of(
    section: str, read: Condition = ALWAYS, **keys: Allowed | tuple[Allowed, Condition]
) -> list[Row]:
    """Return the rows of a section whose keys share a condition.

    Args:
        section: name before the last dot; "" for keys of the top level.
        read: condition of every key that has none of its own.
        keys: allowed values by the last part of the name, or a pair of these and a condition.
    """
    prefix = f"{section}." if section else ""
    rows = []
    for name, column in keys.items():
        allowed, condition = column if isinstance(column, tuple) else (column, read)
        rows.append(Row(f"{prefix}{name}", allowed, condition))
    return rows
