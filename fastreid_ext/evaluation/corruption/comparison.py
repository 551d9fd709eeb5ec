"""Comparison of several models on the same corrupted images, with means and spreads over seeds.

It reads ``corruption.json`` files of :mod:`fastreid_ext.engine.corruption_run`, one for each
seed of each model.
"""

import dataclasses
import json
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.evaluation.corruption.baseline import FORMAT, RESULT_FILE
from fastreid_ext.evaluation.corruption.pixels import installation_differences
from fastreid_ext.evaluation.corruption.results import SPOKEN_SIDES
from fastreid_ext.evaluation.corruption.two_modalities import suffix_of
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import AP_RULE, METRICS, Summary
from fastreid_ext.evaluation.ranking import column_title

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ModelResults:
    """Results of one model; every list has one number per seed.

    Attributes:
        name: name of the model in tables and plots.
        clean: clean results in percent, by metric.
        corrupted: mean over the repeats in percent, by metric.
        relative_drop: relative drop from ``clean`` to ``corrupted`` in percent, by metric.
        mAP_by_corruption: mean over the severities of the grid, percent; empty without a grid.
    """

    name: str
    clean: dict[str, list[float]]
    corrupted: dict[str, list[float]]
    relative_drop: dict[str, list[float]]
    mAP_by_corruption: dict[str, list[float]]

    def drop_under(self, corruption: str) -> Summary:
        """Summarise the relative drop of mAP under one corruption over the seeds, in percent."""
        pairs = zip(self.clean["mAP"], self.mAP_by_corruption[corruption], strict=True)
        return Summary.of([_share(clean - value, clean) for clean, value in pairs])


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Results of several models on one -C test set.

    Attributes:
        data_set: registered name of the test set.
        corrupt: corrupted side: "query", "gallery" or "both".
        index_sha256: ``rows_sha256`` of the index that all models were tested with.
        models: results of each model, in the order they were given.
        installation_differences: differences between installations that can change pixels.
    """

    data_set: str
    corrupt: str
    index_sha256: str
    models: list[ModelResults]
    installation_differences: list[str]

    def corruptions(self) -> list[str]:
        """List the corruptions of the grid; empty unless every model has a grid."""
        every = [list(model.mAP_by_corruption) for model in self.models]
        return every[0] if all(every) else []

    def as_json(self) -> dict[str, Any]:
        """Collect all numbers in a dictionary that ``json.dumps`` accepts."""
        return {"ap_rule": AP_RULE, **dataclasses.asdict(self)}

    def as_markdown(self) -> str:
        """Format a table of the repeats and, with grids, one by corruption."""
        heads = ["model", "seeds"]
        heads += [f"{column_title(m)} {kind}" for m in METRICS for kind in ("clean", "-C")]
        heads.append(f"drop of {column_title('mAP')}")
        lines = [
            f"{self.data_set}{suffix_of(self.data_set, self.corrupt)}, "
            f"{SPOKEN_SIDES[self.corrupt]} corrupted; percent, mean (standard "
            f"deviation) over seeds; drops are relative; {AP_RULE}; "
            f"index {self.index_sha256[:16]}.",
            *self._warning(),
            "",
            *markdown_table(heads, [self._row(model) for model in self.models]),
        ]
        if self.corruptions():
            heads = ["corruption"]
            heads += [f"{model.name}, {what}" for model in self.models for what in ("mAP", "drop")]
            rows = [self._corruption_row(name) for name in self.corruptions()]
            lines += ["", "Mean over the severities, one corruption for all images:", ""]
            lines += markdown_table(heads, rows)
        return "\n".join(lines) + "\n"

    def _warning(self) -> list[str]:
        differing = ", ".join(self.installation_differences)
        return [f"Pixels may differ: evaluations differ in {differing}."] if differing else []

    def _row(self, model: ModelResults) -> list[str]:
        cells = [model.name, str(len(model.clean["mAP"]))]
        for metric in METRICS:
            cells += [str(Summary.of(kind[metric])) for kind in (model.clean, model.corrupted)]
        return [*cells, str(Summary.of(model.relative_drop["mAP"]))]

    def _corruption_row(self, name: str) -> list[str]:
        cells = [name]
        for model in self.models:
            cells += [str(Summary.of(model.mAP_by_corruption[name])), str(model.drop_under(name))]
        return cells


def compare(evaluations: Mapping[str, Sequence[Path]]) -> Comparison:
    """Read finished evaluations and compare them, model by model.

    Args:
        evaluations: folders of finished evaluations (or their ``corruption.json``), one per seed,
            by name of the model.

    Raises:
        FileNotFoundError: an evaluation is missing or not finished.
        ValueError: a file is not the result of an evaluation, or the models were tested on
            different pixels.
    """
    if not evaluations or not all(evaluations.values()):
        raise ValueError("expected at least one model with at least one evaluation")
    contents = {name: [_read(path) for path in paths] for name, paths in evaluations.items()}
    (first_path, first), *others = [pair for pairs in contents.values() for pair in pairs]
    tested = _tested_on(first)
    for path, content in others:
        if _tested_on(content) != tested:
            raise ValueError(
                f"{path}: expected an evaluation on the same pixels as {first_path} {tested}, got "
                f"{_tested_on(content)}; evaluate all with the same --index and --corrupt"
            )
    repeated = [text for _, other in others for text in installation_differences(first, other)]
    differences = list(dict.fromkeys(repeated))
    if differences:
        logger.warning("pixels may differ: evaluations differ in %s", ", ".join(differences))
    models = [_model(name, [content for _, content in pairs]) for name, pairs in contents.items()]
    return Comparison(*tested, models, differences)


def _read(path: Path) -> tuple[Path, dict[str, Any]]:
    file = path / RESULT_FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"no evaluation at {file}; make it with tools/evaluate_corruption.py"
        )
    try:
        content = json.loads(file.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return file, content
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: expected the {RESULT_FILE} of tools/evaluate_corruption.py, got "
            f"{type(error).__name__}: {error}"
        ) from error


def _tested_on(content: dict[str, Any]) -> tuple[str, str, str]:
    return content["data_set"], content["corrupt"], content["index"]["rows_sha256"]


def _model(name: str, contents: Sequence[dict[str, Any]]) -> ModelResults:
    corrupted = {
        metric: [content["corrupted"][metric]["mean"] for content in contents] for metric in METRICS
    }
    clean = {metric: [content["clean"][metric] for content in contents] for metric in METRICS}
    drops = {
        metric: [
            _share(before - after, before)
            for before, after in zip(clean[metric], corrupted[metric], strict=True)
        ]
        for metric in METRICS
    }
    grids = [content.get("grid", {}) for content in contents]
    shared = [name for name in grids[0] if all(name in grid for grid in grids)]
    by_corruption = {
        corruption: [
            statistics.fmean(cell["mAP"] for cell in grid[corruption].values()) for grid in grids
        ]
        for corruption in shared
    }
    return ModelResults(name, clean, corrupted, drops, by_corruption)


def _share(part: float, whole: float) -> float:
    return 100 * part / whole if whole else math.nan
