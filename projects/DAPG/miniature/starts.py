"""Compare starts of a Re-ID network: pre-train in one or more stages, train AGW, test.

    python -m projects.DAPG.miniature.starts reasons --seeds 0 1 2 --output logs/miniature/dapg
    python -m projects.DAPG.miniature.starts reasons DATASETS.ROOT /data --only random temperature

``reasons`` are stage 1 of DAPG and variants of it that differ in one thing, each of them a
candidate reason why stage 1 did not help. The command continues where it was stopped. After each
run it renews ``<comparison>.json``, ``.md`` and ``.png`` in --output, with what is finished. KEY
VALUE pairs after the name of the comparison hold for all runs.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fastreid_ext.atomic import atomic_write_text, expect_writable
from fastreid_ext.command_line import short_errors
from fastreid_ext.engine.matrix import run_matrix
from fastreid_ext.engine.matrix_plan import MatrixRun
from fastreid_ext.engine.results import RESULT_FILE
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import Summary
from fastreid_ext.pictures.png import COLOURS, bare, save_figure

_REPOSITORY = Path(__file__).resolve().parents[3]
_CONFIGS = Path(__file__).resolve().parent / "configs"
TUNED = _REPOSITORY / "configs" / "miniature" / "AGW.yml"
UNLABELLED = ("RenderedMall", "RenderedStation", "RenderedStreet")
PERSONS = "RenderedCampus"
METRICS = ("Rank-1", "mAP", "mINP")
_WEIGHTS = "model_final.pth"
RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Start:
    """Weights that a network begins with.

    Attributes:
        name: name in tables, and of the folder of its runs.
        stages: recipes of the pre-training, each started from the backbone of the one before; ()
            for random weights.
    """

    name: str
    stages: tuple[Path, ...] = ()


# In this order, so that a comparison that is stopped early has the likeliest reasons.
_REASONS = (
    *("contrast_only", "temperature", "colour", "temperature_colour", "simclr", "no_momentum"),
    *("clean_anchor", "mild", "queue", "js_negatives", "js_channels", "js_light"),
)
COMPARISONS = {
    "reasons": (
        Start(RANDOM),
        *(Start(name, (_CONFIGS / "reasons" / f"{name}.yml",)) for name in _REASONS),
    ),
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Percentages that one start reaches with one seed.

    Attributes:
        start: name of the start.
        seed: seed of the pre-training and of the training.
        steps: steps of the pre-training, all stages together.
        frozen: percentages of the pre-trained backbone's pooled feature; {} for random weights.
        tuned: percentages of the trained network.
        commit: commit of the code that trained it.
    """

    start: str
    seed: int
    steps: int
    frozen: dict[str, float]
    tuned: dict[str, float]
    commit: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs of the starts; a run that is finished is recognised by its files.

    Attributes:
        output: folder of all runs.
        tuned: recipe of the network that is trained from each start.
        unlabelled: data sets of the pre-training.
        persons: data set of the training and the test.
        overrides: KEY VALUE pairs of all runs.
    """

    output: Path
    tuned: Path = TUNED
    unlabelled: tuple[str, ...] = UNLABELLED
    persons: str = PERSONS
    overrides: tuple[str, ...] = ()

    def outcome(self, start: Start, seed: int) -> Outcome:
        """Pre-train, train and test what is not done yet."""
        weights: Path | None = None
        frozen: dict[str, float] = {}
        steps = 0
        for number, recipe in enumerate(start.stages, 1):
            place = self.output / start.name / f"stage{number}"
            folder, frozen = self._run(place, recipe, self.unlabelled, seed, weights)
            weights = folder / _WEIGHTS
            steps += _steps(folder)
        folder, tuned = self._run(
            self.output / start.name / "tuned", self.tuned, (self.persons,), seed, weights
        )
        commit = str(json.loads((folder / RESULT_FILE).read_text())["commit"])
        return Outcome(start.name, seed, steps, frozen, tuned, commit)

    def _run(
        self,
        place: Path,
        recipe: Path,
        sources: tuple[str, ...],
        seed: int,
        weights: Path | None,
    ) -> tuple[Path, dict[str, float]]:
        given: tuple[str, ...] = ("MODEL.BACKBONE.PRETRAIN", str(weights is not None))
        if weights is not None:
            given += ("MODEL.BACKBONE.PRETRAIN_PATH", str(weights))
        overrides = (*self.overrides, *given)
        run = MatrixRun(recipe, sources, (self.persons,), seed=seed, overrides=overrides)
        (cell,) = run_matrix([run], place).cells
        return run.folder(place), {name: float(cell.metrics[name]) for name in METRICS}


def _steps(folder: Path) -> int:
    """Read the number of steps of a finished run from the last line of its metrics."""
    last = (folder / "metrics.json").read_text().splitlines()[-1]
    return int(json.loads(last)["iteration"]) + 1


def table(outcomes: Sequence[Outcome]) -> str:
    """Format one row for each start: means over seeds, and the difference to random weights."""
    names = list(dict.fromkeys(outcome.start for outcome in outcomes))
    random = {one.seed: one.tuned["mAP"] for one in outcomes if one.start == RANDOM}
    rows = []
    for name in names:
        own = [outcome for outcome in outcomes if outcome.start == name]
        gains = [one.tuned["mAP"] - random[one.seed] for one in own if one.seed in random]
        frozen = [one.frozen["mAP"] for one in own if one.frozen]
        rows.append(
            [
                name,
                str(own[0].steps),
                str(Summary.of(frozen)) if frozen else "-",
                *(str(Summary.of([one.tuned[metric] for one in own])) for metric in METRICS),
                f"{statistics.fmean(gains):+.1f}" if gains and name != RANDOM else "-",
                ", ".join(str(one.seed) for one in own),
            ]
        )
    heads = ["start", "steps", "mAP before training", *METRICS, "mAP over random", "seeds"]
    return "\n".join(markdown_table(heads, rows))


def plot(outcomes: Sequence[Outcome], output: Path) -> Path:
    """Plot mAP of the trained network: mean over seeds, a dot for each seed."""
    names = list(dict.fromkeys(outcome.start for outcome in outcomes))
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    for y, name in enumerate(names):
        found = [one.tuned["mAP"] for one in outcomes if one.start == name]
        axes.barh(y, statistics.fmean(found), color=COLOURS[0], height=0.6, zorder=1)
        axes.plot(found, np.full(len(found), y), "o", color="black", markersize=4, zorder=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("mAP of AGW from this start, percent; dots are seeds")
    bare(axes)
    return save_figure(figure, output)


def main(args: argparse.Namespace) -> None:
    expect_writable(args.output, is_folder=True)
    starts = COMPARISONS[args.comparison]
    names = [start.name for start in starts]
    if unknown := sorted(set(args.only) - set(names)):
        raise ValueError(f"unknown starts {', '.join(unknown)}; choose --only from {names}")
    comparison = Comparison(args.output / args.comparison, overrides=tuple(args.opts))
    outcomes: list[Outcome] = []
    for seed in args.seeds:
        for start in starts:
            if args.only and start.name not in args.only:
                continue
            outcomes.append(comparison.outcome(start, seed))
            _write(outcomes, args.output / args.comparison)
    print(table(outcomes))


def _write(outcomes: Sequence[Outcome], path: Path) -> None:
    content = json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1)
    atomic_write_text(path.with_suffix(".json"), content + "\n")
    atomic_write_text(path.with_suffix(".md"), table(outcomes) + "\n")
    plot(outcomes, path.with_suffix(".png"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", choices=list(COMPARISONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], help="names of starts; default: all")
    parser.add_argument("--output", type=Path, default=Path("logs/miniature/dapg"))
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys to change in all runs")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
