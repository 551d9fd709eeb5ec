"""Mean corruption error (mCE): errors on corrupted images relative to those of a baseline.

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
from fastreid_ext.evaluation.corruption.pixels import installation_differences

logger = logging.getLogger(__name__)

RESULT_FILE = "corruption.json"
FORMAT = "fastreid_ext corruption evaluation 1"
ERROR_METRICS = ("mAP", "Rank-1")  # of mCE
Grid = Mapping[str, Mapping[int, Metrics]]


@dataclasses.dataclass(frozen=True)
class CorruptionErrors:
    """Corruption errors of a model relative to those of a baseline.

    Attributes:
        baseline: name of the baseline model.
        by_corruption: corruption error CE_c in percent, by metric and corruption.
    """

    baseline: str
    by_corruption: dict[str, dict[str, float]]

    def mean(self, metric: str) -> float:
        """Average the corruption errors of a metric to mCE, in percent."""
        return statistics.fmean(self.by_corruption[metric].values())


def corruption_errors(grid: Grid, baseline: Grid, name: str) -> CorruptionErrors:
    """Divide the errors in a grid by those of a baseline in the same grid.

    Args:
        grid: percentages of the model by corruption, severity and metric.
        baseline: percentages of the baseline, with the same corruptions and severities.
        name: name of the baseline in results and messages.

    Raises:
        ValueError: the grids differ in corruptions or severities, or the baseline makes no errors.

    Example:
        >>> grid = {"fog": {1: {"mAP": 60.0, "Rank-1": 80.0}}}
        >>> weaker = {"fog": {1: {"mAP": 20.0, "Rank-1": 60.0}}}
        >>> corruption_errors(grid, weaker, "BoT").mean("mAP")
        50.0
    """
    _expect_same_cells(grid, baseline, name)
    found: dict[str, dict[str, float]] = {metric: {} for metric in ERROR_METRICS}
    for metric, errors in found.items():
        for corruption in grid:
            reference = _total_error(baseline[corruption], metric)
            if reference == 0:
                raise ValueError(
                    f"expected a baseline that errs, got {metric} 100 % under {corruption} in "
                    f"{name}; mCE is not defined, take a weaker baseline"
                )
            errors[corruption] = 100 * _total_error(grid[corruption], metric) / reference
    return CorruptionErrors(name, found)


def _total_error(cells: Mapping[int, Metrics], metric: str) -> float:
    return sum(100 - cell[metric] for cell in cells.values())


def _expect_same_cells(grid: Grid, baseline: Grid, name: str) -> None:
    cells = _cells(grid)
    others = _cells(baseline)
    if cells == others and cells:
        return
    unshared = sorted(cells ^ others)
    first = ", the first that only one has is {} {}".format(*unshared[0]) if unshared else ""
    raise ValueError(
        "expected a baseline with the same grid of corruptions and severities, got "
        f"{len(cells)} cells here and {len(others)} in {name}{first}; evaluate both with --grid"
    )


def _cells(grid: Grid) -> set[tuple[str, int]]:
    return {(corruption, severity) for corruption in grid for severity in grid[corruption]}


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Results of an earlier evaluation with a grid, to which errors are compared.

    Attributes:
        file: path of the ``corruption.json`` of that evaluation.
        data_set: registered name of the test set.
        corrupt: corrupted side: "query", "gallery" or "both".
        index_sha256: ``rows_sha256`` of the corruption index it used.
        grid: percentages by corruption, severity and metric.
        installation: ``pixel_probe`` and ``versions`` stored in its results.
    """

    file: Path
    data_set: str
    corrupt: str
    index_sha256: str
    grid: Grid
    installation: Mapping[str, Any]

    def expect(self, data_set: str, corrupt: str, index_sha256: str) -> None:
        """Check that the baseline has this set, side and index; else raise ValueError."""
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

    def installation_differences(self, installation: Mapping[str, Any]) -> list[str]:
        """List differences between installations that can change pixels, and warn of them.

        Args:
            installation: ``pixel_probe`` and ``versions`` of the evaluation to compare.
        """
        found = installation_differences(installation, self.installation)
        if found:
            logger.warning(
                "%s: the index is the same, but pixels may differ from the baseline's, which "
                "differs in %s (here and there); evaluate both with one installation",
                self.file,
                ", ".join(found),
            )
        return found

    def errors(self, grid: Grid) -> CorruptionErrors:
        """Compute the errors of a grid relative to this baseline, which is named by its folder."""
        return corruption_errors(grid, self.grid, self.file.resolve().parent.name)


def read_baseline(file: Path) -> Baseline:
    """Read the ``corruption.json`` of an evaluation with a grid.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not the result of such an evaluation, or has no grid.
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
        installation = {key: content.get(key) for key in ("pixel_probe", "versions")}
        return Baseline(file, content["data_set"], content["corrupt"], index, grid, installation)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file}: expected the {RESULT_FILE} of an evaluation with --grid, got "
            f"{type(error).__name__}: {error}; evaluate the baseline with --grid"
        ) from error
