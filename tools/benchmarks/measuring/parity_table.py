"""The table of docs/parity.md, from the cells of ``tools/benchmarks/parity.py``."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fastreid_ext.atomic import atomic_write_text

Content = Mapping[str, Any]
TABLE_BEGIN = "<!-- table by tools/benchmarks/parity.py -->"
TABLE_END = "<!-- end of table -->"

# Columns of the table by side of the comparison.
_TITLES = {
    "as it is": "fastreid, made to run",
    "fastreid": "fastreid, made to learn",
    "ours": "fastreid_ext",
}


def table_of(content: Content) -> str:
    """Return the Markdown table of a comparison, and below it what it was made with."""
    recipes = list(dict.fromkeys(cell["recipe"] for cell in content["cells"]))
    headers = ["recipe", *_TITLES.values()]
    rows = [[recipe, *(_scores(content, recipe, side) for side in _TITLES)] for recipe in recipes]
    commits = sorted({str(cell["commit"]) for cell in content["cells"]})
    newest = content["cells"][-1]["versions"]
    simple = [
        f"{name}: {values['Rank-1']:.1f} / {values['mAP']:.1f}"
        for name, values in content["baselines"].items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in newest.items())
    paragraphs = [
        "Rank-1 / mAP in percent, mean (standard deviation) over the seeds, mAP by fastreid's "
        "rule; in brackets the trained parameter tensors that changed at all:",
        tabulate(rows, headers=headers, tablefmt="github"),
        f"On the same test set {', '.join(simple)}.",
        f"Commit {', '.join(commits)}; {versions}.",
    ]
    return "\n\n".join(paragraphs)


def _scores(content: Content, recipe: str, side: str) -> str:
    cells = [c for c in content["cells"] if (c["recipe"], c["side"]) == (recipe, side)]
    if not cells:
        return ""
    words = [_mean([cell["percent"][key] for cell in cells]) for key in ("Rank-1", "mAP")]
    changed = " ".join(
        sorted({f"{cell['changed_tensors']} of {cell['parameter_tensors']}" for cell in cells})
    )
    return f"{' / '.join(words)} [{changed}]"


def _mean(values: list[float]) -> str:
    spread = f" ({statistics.stdev(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def write_table(document: Path, table: str) -> None:
    """Replace the table of the document, between the two lines that mark it.

    Raises:
        ValueError: the document lacks the lines.
    """
    text = document.read_text()
    if TABLE_BEGIN not in text or TABLE_END not in text:
        raise ValueError(
            f"expected the lines '{TABLE_BEGIN}' and '{TABLE_END}' in {document}, around the place "
            "of the table; add them"
        )
    before = text.partition(TABLE_BEGIN)[0]
    after = text.partition(TABLE_END)[2]
    atomic_write_text(document, f"{before}{TABLE_BEGIN}\n\n{table}\n\n{TABLE_END}{after}")
