"""mCE: the errors on corrupted images relative to those of a named baseline.

Letters: c a corruption, s a severity.

With the error of a cell of the grid 1 - mAP (or 1 - Rank-1), the corruption error of c is
``CE_c = 100 * sum_s error_cs / sum_s error_cs of the baseline`` and mCE its mean over c [0]. The
baseline itself has 100.

[0] Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019, section 4
"""

import dataclasses
import json
import logging
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastreid_ext.evaluation.corruption.measure import Metrics
from fastreid_ext.evaluation.corruption.pixels import pixel_makers_differ

logger = logging.getLogger(__name__)

RESULT_FILE = "corruption.json"
FORMAT = "fastreid_ext corruption evaluation 1"
ERROR_METRICS = ("mAP", "Rank-1")  # of mCE
Grid = Mapping[str, Mapping[int, Metrics]]


@dataclasses.dataclass(frozen=True)
class CorruptionErrors:
    """Errors relative to those of a baseline.

    Attributes:
        baseline: its name.
        by_corruption: CE_c in percent, by metric and corruption.
    """

    baseline: str
    by_corruption: dict[str, dict[str, float]]

    def mean(self, metric: str) -> float:
        """Return mCE in percent."""
        return statistics.fmean(self.by_corruption[metric].values())


def corruption_errors(grid: Grid, baseline: Grid, name: str) -> CorruptionErrors:
    """Divide the errors in a grid by those of a baseline in the same grid.

    Args:
        grid: percentages by corruption, severity and metric.
        baseline: likewise.
        name: of the baseline.

    Raises:
        ValueError: the grids have other cells, or the baseline makes no errors.
    """
    cells, others = (sorted((c, s) for c in g for s in g[c]) for g in (grid, baseline))
    if cells != others or not cells:
        odd = sorted(set(cells) ^ set(others))
        raise ValueError(
            f"expected a baseline with the same grid of corruptions and severities, got "
            f"{len(cells)} cells here and {len(others)} in {name}"
            + (f", the first that one lacks is {odd[0][0]} {odd[0][1]}" if odd else "")
            + "; evaluate both with --grid"
        )
    found: dict[str, dict[str, float]] = {metric: {} for metric in ERROR_METRICS}
    for metric, errors in found.items():
        for corruption in grid:
            own, other = (
                sum(100 - cell[metric] for cell in g[corruption].values()) for g in (grid, baseline)
            )
            if other == 0:
                raise ValueError(
                    f"expected a baseline that errs, got {metric} 100 % under {corruption} in "
                    f"{name}; mCE is not defined, take a weaker baseline"
                )
            errors[corruption] = 100 * own / other
    return CorruptionErrors(name, found)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Another evaluation with a grid.

    Attributes:
        file: its results.
        data_set: registered name.
        corrupt: corrupted side.
        index_sha256: ``rows_sha256`` of its index.
        grid: percentages by corruption, severity and metric.
        made_by: its ``pixel_probe`` and ``versions``.
    """

    file: Path
    data_set: str
    corrupt: str
    index_sha256: str
    grid: Grid
    made_by: Mapping[str, Any]

    def expect(self, data_set: str, corrupt: str, index_sha256: str) -> None:
        """Raise ValueError unless the baseline was tested on these pixels."""
        for key, theirs, ours in (
            ("data set", self.data_set, data_set),
            ("corrupted side", self.corrupt, corrupt),
            ("index", self.index_sha256, index_sha256),
        ):
            if theirs != ours:
                raise ValueError(
                    f"{self.file}: expected a baseline tested on the same pixels, got {key} "
                    f"{theirs} there and {ours} here; evaluate both with the same --index, "
                    "--dataset and --corrupt"
                )

    def differs_in(self, made_by: Mapping[str, Any]) -> list[str]:
        """Return, and warn of, what may have made other pixels of the same index.

        Args:
            made_by: ``pixel_probe`` and ``versions`` of the evaluation that refers to this one.
        """
        found = pixel_makers_differ(made_by, self.made_by)
        if found:
            logger.warning(
                "%s: the index is the same, but pixels may differ from the baseline's, which "
                "differs in %s (here and there); evaluate both with one installation",
                self.file,
                ", ".join(found),
            )
        return found

    def errors(self, grid: Grid) -> CorruptionErrors:
        """Return the errors of a grid relative to this baseline, named by its folder."""
        return corruption_errors(grid, self.grid, self.file.resolve().parent.name)


def read_baseline(file: Path) -> Baseline:
    """Read the results of an evaluation with a grid.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else, or has no grid.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"no baseline at {file}; give the {RESULT_FILE} of an evaluation with --grid"
        )
    try:
        content = json.loads(file.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        grid = {
            name: {int(severity): dict(metrics) for severity, metrics in cells.items()}
            for name, cells in content["grid"].items()
        }
        index = content["index"]["rows_sha256"]
        made_by = {key: content.get(key) for key in ("pixel_probe", "versions")}
        return Baseline(file, content["data_set"], content["corrupt"], index, grid, made_by)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file}: expected the {RESULT_FILE} of an evaluation with --grid, got "
            f"{type(error).__name__}: {error}; evaluate the baseline with --grid"
        ) from error
