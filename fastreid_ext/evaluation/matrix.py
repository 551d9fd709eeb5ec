"""Table of many runs: models and settings by test set, with mean and spread over seeds.

A *cell* holds the metrics of one run on one test set. Cells that differ only in the seed are
summarised as mean and standard deviation; the splits of a ten-split protocol are first averaged
within a run, as in the papers.
"""

import dataclasses
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.data.protocols import REGDB_TRIALS, group_of
from fastreid_ext.evaluation.markdown import markdown_table

METRICS = ("Rank-1", "mAP", "mINP")
AP_RULE = "AP by fastreid's rule (precision at each match, no trapezoid)"


@dataclasses.dataclass(frozen=True)
class Cell:
    """Metrics of one run on one test set.

    Attributes:
        model: name of the recipe, such as "AGW".
        source: names of the training sets, joined by "+".
        setting: value of DATASETS.SUBSET, "all" for the whole set.
        target: name of the test set, or of the group of splits averaged here.
        seed: random seed of the run.
        metrics: metrics in percent, by name.
    """

    model: str
    source: str
    setting: str
    target: str
    seed: int
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Summary:
    """Mean and standard deviation of a metric over seeds.

    Attributes:
        mean: mean over the seeds, in percent.
        spread: sample standard deviation (n - 1), in percent; NaN for one seed.
        seeds: number of seeds, at least 1.
    """

    mean: float
    spread: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise the values of one or more seeds."""
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), spread, len(values))

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if math.isnan(self.spread) else f" ({self.spread:.1f})")


Row = tuple[str, str, str]  # model, source, setting


class Table:
    """Cells by row (model, source, setting) and column (target), in the order they came."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = list(cells)
        self.rows: list[Row] = list(
            dict.fromkeys((cell.model, cell.source, cell.setting) for cell in self.cells)
        )
        self.targets: list[str] = list(dict.fromkeys(cell.target for cell in self.cells))

    def summary(self, row: Row, target: str, metric: str) -> Summary | None:
        """Summarise a metric over the seeds; None without results."""
        values = [
            cell.metrics[metric]
            for cell in self.cells
            if (cell.model, cell.source, cell.setting) == row
            and cell.target == target
            and metric in cell.metrics
        ]
        return Summary.of(values) if values else None

    def as_json(self) -> dict[str, Any]:
        """Collect cells and summaries in a dictionary that ``json.dumps`` accepts."""
        summaries = [
            {
                **dict(zip(("model", "source", "setting"), row, strict=True)),
                "target": target,
                "metric": metric,
                "mean": summary.mean,
                "spread": None if math.isnan(summary.spread) else summary.spread,
                "seeds": summary.seeds,
            }
            for row in self.rows
            for target in self.targets
            for metric in METRICS
            if (summary := self.summary(row, target, metric)) is not None
        ]
        return {
            "ap_rule": AP_RULE,
            "spread": "standard deviation over seeds (n - 1)",
            "summaries": summaries,
            "cells": [dataclasses.asdict(cell) for cell in self.cells],
        }

    def _seeds(self) -> str:
        """Describe the number of seeds; in an unfinished matrix it differs between cells."""
        counts = Counter(
            (cell.model, cell.source, cell.setting, cell.target) for cell in self.cells
        )
        least = min(counts.values(), default=0)
        most = max(counts.values(), default=0)
        if most == 1:
            return "one seed"
        count = str(most) if least == most else f"{least} to {most}"
        return f"mean (standard deviation) over {count} seeds"

    def as_markdown(self) -> str:
        """Format one Markdown table: Rank-1 / mAP, mean (spread) in percent."""
        rows = [
            [
                *row,
                *(self._scores(row, target) for target in self.targets),
            ]
            for row in self.rows
        ]
        caption = f"Rank-1 / mAP in percent, {self._seeds()}; {AP_RULE}."
        table = markdown_table(["model", "trained on", "share", *self.targets], rows)
        return "\n".join([caption, "", *table]) + "\n" + self._pairs_as_markdown()

    def _pairs_as_markdown(self) -> str:
        """Format the table of generalisation papers: a column for each pair, and their mean.

        It has the pairs of a source with a set that it was not trained on; "" with less than two.
        """
        pairs = [
            pair
            for pair in dict.fromkeys((cell.source, cell.target) for cell in self.cells)
            if pair[1] not in pair[0].split("+")
        ]
        models = list(dict.fromkeys((model, setting) for model, _, setting in self.rows))
        if len(pairs) < 2 or len({source for source, _ in pairs}) < 2:
            return ""
        headers = [f"{source} -> {target}" for source, target in pairs]
        rows = [
            [
                f"{model}, {setting}" if setting != "all" else model,
                *(self._scores((model, source, setting), target) for source, target in pairs),
                self._average(model, setting, pairs),
            ]
            for model, setting in models
        ]
        table = markdown_table(["model", *headers, "average"], rows)
        return "\n".join(
            ["", "By pair of source and target; average over the pairs:", "", *table, ""]
        )

    def _scores(self, row: Row, target: str) -> str:
        return " / ".join(str(self.summary(row, target, m) or "-") for m in METRICS[:2])

    def _average(self, model: str, setting: str, pairs: Sequence[tuple[str, str]]) -> str:
        """Average over the pairs of each seed that has them all, then summarise the seeds."""
        wanted = set(pairs)
        found = [
            cell
            for cell in self.cells
            if (cell.model, cell.setting) == (model, setting)
            and (cell.source, cell.target) in wanted
        ]
        seeds = sorted({cell.seed for cell in found})
        whole = [seed for seed in seeds if sum(c.seed == seed for c in found) == len(wanted)]
        if not whole:
            return "-"
        means = (
            Summary.of(
                [
                    statistics.fmean(cell.metrics[metric] for cell in found if cell.seed == seed)
                    for seed in whole
                ]
            )
            for metric in METRICS[:2]
        )
        return " / ".join(map(str, means))


def write_table(table: Table, folder: Path) -> None:
    """Write ``matrix.json`` and ``matrix.md`` into a folder, atomically."""
    atomic_write_text(folder / "matrix.json", json.dumps(table.as_json(), indent=1) + "\n")
    atomic_write_text(folder / "matrix.md", table.as_markdown())


def averaged_splits(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Average the test sets that are splits of one protocol (``data.protocols.group_of``).

    Args:
        metrics: metrics in percent, by test set and name.

    Returns:
        Metrics in percent, by group and name; without metrics that some split lacks.
    """
    groups: dict[str, list[Mapping[str, float]]] = {}
    for name, values in metrics.items():
        groups.setdefault(group_of(name), []).append(values)
    return {
        group: {
            key: statistics.fmean(values[key] for values in members)
            for key in members[0]
            if all(key in values for values in members)
        }
        for group, members in groups.items()
    }


def averaged_trials(cells: Sequence[Cell]) -> list[Cell]:
    """Average the cells of models trained on the trials of one set (RegDB's ten).

    While trials are missing, the name of the source says how many there are.

    Args:
        cells: cells of runs, the sources named as they are registered.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        key = (cell.model, group_of(cell.source), cell.setting, cell.target, str(cell.seed))
        groups.setdefault(key, []).append(cell)
    return [_mean_of_trials(members) for members in groups.values()]


def _mean_of_trials(members: Sequence[Cell]) -> Cell:
    first = members[0]
    source = group_of(first.source)
    if source == first.source:
        return first
    if len(members) < len(REGDB_TRIALS):
        source = f"{source} ({len(members)} of {len(REGDB_TRIALS)} trials)"
    shared = [key for key in first.metrics if all(key in cell.metrics for cell in members)]
    means = {key: statistics.fmean(cell.metrics[key] for cell in members) for key in shared}
    return dataclasses.replace(first, source=source, metrics=means)
