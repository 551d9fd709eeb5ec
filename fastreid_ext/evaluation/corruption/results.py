"""Results of a -C evaluation: means over repeats, means over the grid, and tables.

The *relative drop* is 100 (clean - corrupted) / clean. For mCE see :mod:`.baseline`.
"""

import dataclasses
import math
import statistics
from typing import Any

from fastreid_ext.evaluation.corruption.baseline import ERROR_METRICS, CorruptionErrors
from fastreid_ext.evaluation.corruption.measure import Measured, Metrics
from fastreid_ext.evaluation.corruption.two_modalities import suffix_of
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import AP_RULE, METRICS, Summary
from fastreid_ext.evaluation.ranking import column_title

# Names of the corrupted sides in tables and plots.
SPOKEN_SIDES = {"both": "queries and gallery", "query": "queries", "gallery": "gallery"}


@dataclasses.dataclass(frozen=True)
class CorruptionResults:
    """Results of one model on a -C test set, as tables and plots show them.

    Attributes:
        data_set: registered name of the test set.
        corrupt: corrupted side: "query", "gallery" or "both".
        index_sha256: ``rows_sha256`` of the corruption index.
        measured: metrics of all parts, in percent.
        errors: corruption errors relative to a baseline; None without one.
        title: name of the test with all that changes its result; "" = the data set alone.
    """

    data_set: str
    corrupt: str
    index_sha256: str
    measured: Measured
    errors: CorruptionErrors | None = None
    title: str = ""

    @property
    def name(self) -> str:
        """Name of the corrupted set, with "-C*" where infrared images are corrupted too."""
        return self.data_set + suffix_of(self.data_set, self.corrupt)

    def corrupted(self, metric: str) -> Summary:
        """Summarise a metric by mean and standard deviation (n - 1) over the repeats."""
        return Summary.of([metrics[metric] for metrics in self.measured.repeats])

    def of_corruption(self, corruption: str, metric: str) -> float:
        """Average a metric over the severities of one corruption of the grid."""
        return statistics.fmean(c[metric] for c in self.measured.grid[corruption].values())

    def of_severity(self, severity: int, metric: str) -> float:
        """Average a metric over the corruptions of the grid at one severity."""
        return statistics.fmean(c[severity][metric] for c in self.measured.grid.values())

    def severities(self) -> list[int]:
        """List the severities of the grid."""
        return list(next(iter(self.measured.grid.values()), {}))

    def drop(self, value: float, metric: str) -> float:
        """Compute the relative drop from the clean result, in percent; NaN if that is 0."""
        clean = self.measured.clean[metric]
        return 100 * (clean - value) / clean if clean else math.nan

    def as_json(self) -> dict[str, Any]:
        """Collect all numbers in a dictionary that ``json.dumps`` accepts."""
        summaries = {metric: self.corrupted(metric) for metric in METRICS}
        content: dict[str, Any] = {
            "data_set": self.data_set,
            "corrupt": self.corrupt,
            "name": self.name,
            "title": self.title,
            "ap_rule": AP_RULE,
            "clean": self.measured.clean,
            "repeats": self.measured.repeats,
            "corrupted": {
                metric: {
                    "mean": summary.mean,
                    "std": None if math.isnan(summary.spread) else summary.spread,
                    "relative_drop": _or_none(self.drop(summary.mean, metric)),
                }
                for metric, summary in summaries.items()
            },
            "std": "standard deviation over repeats (n - 1)",
        }
        if self.measured.grid:
            content["grid"] = {
                name: {str(severity): metrics for severity, metrics in cells.items()}
                for name, cells in self.measured.grid.items()
            }
            content["by_corruption"] = {
                name: self._with_drop({m: self.of_corruption(name, m) for m in METRICS})
                for name in self.measured.grid
            }
            content["by_severity"] = {
                str(severity): self._with_drop({m: self.of_severity(severity, m) for m in METRICS})
                for severity in self.severities()
            }
        if self.errors:
            content["mCE"] = {
                "baseline": self.errors.baseline,
                "mean": {metric: self.errors.mean(metric) for metric in ERROR_METRICS},
                "by_corruption": self.errors.by_corruption,
            }
        return content

    def _with_drop(self, values: Metrics) -> dict[str, Any]:
        drops = {metric: _or_none(self.drop(value, metric)) for metric, value in values.items()}
        return {**values, "relative_drop": drops}

    def one_line(self) -> str:
        """Format clean and corrupted results as one line."""
        parts = (
            f"{column_title(m)} {self.measured.clean[m]:.1f} -> {self.corrupted(m)}"
            for m in METRICS
        )
        errors = f"  mCE {self.errors.mean('mAP'):.1f}" if self.errors else ""
        return f"{self.name}: " + "  ".join(parts) + errors

    def as_markdown(self) -> str:
        """Format the tables: clean and corrupted results, then those of the grid by corruption."""
        count = len(self.measured.repeats)
        over = f"mean (standard deviation) over {count} repeats" if count > 1 else "one repeat"
        rule = "; ".join(filter(None, (AP_RULE, self.title)))
        lines = [
            f"{self.name}: {SPOKEN_SIDES[self.corrupt]} corrupted; percent; {rule}; "
            f"index {self.index_sha256[:16]}.",
            "",
            *markdown_table(
                ["", *map(column_title, METRICS)],
                [
                    ["clean", *(f"{self.measured.clean[m]:.1f}" for m in METRICS)],
                    [f"corrupted, {over}", *(str(self.corrupted(m)) for m in METRICS)],
                    [
                        "relative drop",
                        *(f"{self.drop(self.corrupted(m).mean, m):.1f}" for m in METRICS),
                    ],
                ],
            ),
        ]
        return "\n".join(lines + self._grid_lines()) + "\n"

    def _grid_lines(self) -> list[str]:
        if not self.measured.grid:
            return []
        heads = [f"{column_title('mAP')} at {s}" for s in self.severities()]
        heads = ["corruption", *heads, "mean", "drop", "Rank-1 mean", "drop"]
        rows = [self._grid_row(name) for name in self.measured.grid]
        mean_ap = statistics.fmean(self.of_corruption(name, "mAP") for name in self.measured.grid)
        rank1 = statistics.fmean(self.of_corruption(name, "Rank-1") for name in self.measured.grid)
        of_severities = [f"{self.of_severity(s, 'mAP'):.1f}" for s in self.severities()]
        means = [*of_severities, *self._value_and_drop(mean_ap, "mAP")]
        rows.append(["**mean**", *means, *self._value_and_drop(rank1, "Rank-1")])
        errors = self.errors
        if errors:
            heads += [f"CE {column_title(m)}" for m in ERROR_METRICS]
            for row, name in zip(rows, self.measured.grid, strict=False):
                row += [f"{errors.by_corruption[m][name]:.1f}" for m in ERROR_METRICS]
            rows[-1] += [f"{errors.mean(m):.1f}" for m in ERROR_METRICS]
        caption = "All images with the same corruption; drops are relative, in percent"
        caption += f"; CE: errors relative to {errors.baseline}, last line mCE." if errors else "."
        return ["", caption, "", *markdown_table(heads, rows)]

    def _grid_row(self, name: str) -> list[str]:
        cells = [f"{cell['mAP']:.1f}" for cell in self.measured.grid[name].values()]
        values = ((self.of_corruption(name, metric), metric) for metric in ("mAP", "Rank-1"))
        return [name, *cells, *(text for pair in values for text in self._value_and_drop(*pair))]

    def _value_and_drop(self, value: float, metric: str) -> list[str]:
        return [f"{value:.1f}", f"{self.drop(value, metric):.1f}"]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
