"""Files and lines of a run's metrics: console, ``metrics.json`` (JSON lines), TensorBoard."""

import json
import logging
from pathlib import Path

from fastreid.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter

from fastreid_ext.atomic import PARTIAL_FILES, atomic_write_text
from fastreid_ext.engine.checkpoint import TAG

logger = logging.getLogger(__name__)


METRICS_FILE = "metrics.json"


def open_writers(folder: Path, start_iteration: int, max_iteration: int) -> list[EventWriter]:
    """Return fastreid's writers for a run that stands at ``start_iteration``."""
    # TensorBoard hides what an interrupted run has written past that point.
    purge = {"purge_step": start_iteration} if start_iteration else {}
    return [
        CommonMetricPrinter(max_iteration),  # with ETA
        JSONWriter(str(folder / METRICS_FILE)),
        TensorboardXWriter(str(folder), **purge),
    ]


def prepare_folder(folder: Path, start_iteration: int) -> None:
    """Make the files of an output folder those of a run that stands at ``start_iteration``."""
    for partial in folder.glob(PARTIAL_FILES):  # of a process killed while writing
        partial.unlink()
    if start_iteration:
        trim_metrics(folder / METRICS_FILE, start_iteration)
    else:
        set_aside(folder, (TAG, METRICS_FILE))


def trim_metrics(path: Path, start_iteration: int) -> None:
    """Drop the lines at or past ``start_iteration``, which the resumed run will write again.

    A last line cut off by a killed process is dropped as well.
    """
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if _iteration(line) < start_iteration]
    if len(kept) < len(lines):
        logger.info("%s: dropped %d lines past the checkpoint", path, len(lines) - len(kept))
        atomic_write_text(path, "".join(kept))


def set_aside(folder: Path, names: tuple[str, ...]) -> None:
    """Rename files of an earlier run to ``<name>.old`` before a new run starts in its folder.

    Otherwise ``--resume`` after an early crash would continue the earlier run.
    """
    for name in names:
        path = folder / name
        if path.exists():
            path.replace(path.with_name(f"{name}.old"))
            logger.warning("%s is of an earlier run; kept as %s.old", path, name)


def _iteration(line: str) -> float:
    try:
        return json.loads(line)["iteration"]
    except (ValueError, KeyError):
        return float("inf")
