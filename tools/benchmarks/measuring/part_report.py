"""Report of a run in parts: report.json and report.md. It imports nothing heavy.

Used by ``tools/gpu_report.py``.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class PartReport:
    """Outcome of one part.

    Attributes:
        name: name of the part.
        status: "passed", "failed", "out of time" or "not run".
        seconds: wall time in seconds.
        figures: measured values by name.
        output: last lines that its commands printed.
        error: reason of a failure; "" for none.
    """

    name: str
    status: str = "not run"
    seconds: float = 0.0
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    output: str = ""
    error: str = ""


def as_markdown(reports: Sequence[PartReport], about: dict[str, Any]) -> str:
    """Return the report as Markdown: a table of parts, then figures and output of each."""
    lines = ["# GPU report", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| part | status | seconds |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.status} | {one.seconds:.0f} |" for one in reports]
    for one in reports:
        if one.status != "not run":
            lines += ["", f"## {one.name}: {one.status}", ""]
            lines += [f"- {key}: {_rounded(value)}" for key, value in one.figures.items()]
            lines += [f"- {one.error}"] if one.error else []
            lines += ["", "```", one.output, "```"]
    return "\n".join(lines) + "\n"


def _rounded(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_report(folder: Path, reports: Sequence[PartReport], about: dict[str, Any]) -> None:
    """Write report.json and report.md, atomically."""
    from fastreid_ext.atomic import atomic_write_text

    content = {"about": about, "parts": [dataclasses.asdict(one) for one in reports]}
    atomic_write_text(folder / "report.json", json.dumps(content, indent=1) + "\n")
    atomic_write_text(folder / "report.md", as_markdown(reports, about))
