"""One row of the table of keys."""

import dataclasses

from fastreid_ext.checks.conditions import ALWAYS, Condition
from fastreid_ext.checks.values import Allowed


@dataclasses.dataclass(frozen=True)
class Row:
    """Entry of the table of keys.

    Attributes:
        key: full name, such as "INPUT.CJ.PROB".
        allowed: values that the key may have.
        read: condition under which anything reads the key.
        is_part_of_the_method: whether a recipe without the key is another method; where such a key
            is not read, a warning is logged even if a ``_BASE_`` file has set it.
    """

    key: str
    allowed: Allowed
    read: Condition = ALWAYS
    is_part_of_the_method: bool = False


def rows_of(
    section: str, read: Condition = ALWAYS, **keys: Allowed | tuple[Allowed, Condition]
) -> list[Row]:
    """Build the rows of a section whose keys share a condition.

    Args:
        section: name before the last dot; "" for keys of the top level.
        read: condition of every key that has none of its own.
        keys: allowed values by the last part of the key's name, or a pair of allowed values and the
            key's own condition.
    """
    prefix = f"{section}." if section else ""
    rows = []
    for name, column in keys.items():
        if not isinstance(column, tuple):
            column = (column, read)
        rows.append(Row(f"{prefix}{name}", *column))
    return rows
