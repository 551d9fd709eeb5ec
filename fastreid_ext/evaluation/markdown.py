"""Markdown tables of results."""

from collections.abc import Sequence


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format the lines of a table: a head, a rule and one line per row.

    Example:
        >>> markdown_table(["model", "mAP"], [["AGW", "69.1"]])
        ['| model | mAP |', '| --- | --- |', '| AGW | 69.1 |']
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
