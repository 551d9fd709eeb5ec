"""Compare starts of the methods without labels of the target: tables 4 and 5 in shape.

    python -m projects.Unsupervised.miniature.compare
    python -m projects.Unsupervised.miniature.compare --generated generated/other --seeds 0
    python -m projects.Unsupervised.miniature.compare --methods dbscan spcl --starts random

A start is random weights; ``rendered``, a backbone that has learned the identities of the rendered
persons of three other domains; or, with --generated, one that has learned those of generated sets.
``transfer`` is trained on the source alone and ``labels`` on the target's identities: what a method
must beat, and what it can hope for. Last epochs count, not best ones. The command continues where
it was stopped, and renews table.json, table.md and table.png in --output after each run. KEY VALUE
pairs at the end hold for the runs of all methods.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import dataclasses
import json
import statistics
import sys
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
from fastreid_ext.names import unknown_name
from fastreid_ext.pictures.png import COLOURS, bare, save_figure
from projects.Unsupervised.miniature.methods import METHODS, PRETRAIN, TARGET, Method
from tools.command import add_pairs, parse_command

RANDOM = "random"
RENDERED = "rendered"
GENERATED = "generated"
OTHERS = ("RenderedMall", "RenderedStation", "RenderedStreet")
_WEIGHTS = "model_final.pth"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one method from one start with one seed.

    Attributes:
        method: name of the method.
        uses: what the method knows.
        start: name of the start.
        seed: seed of the pre-training and of the training.
        rank1: Rank-1 of the last epoch on the target, percent.
        mean_ap: mAP of the last epoch on the target, percent.
        ari: adjusted Rand index of the clusters of the first epoch; None without clusters.
        noise: share of noise among the images of the first epoch; None without clusters.
        commit: commit of the code that trained it.
    """

    method: str
    uses: str
    start: str
    seed: int
    rank1: float
    mean_ap: float
    ari: float | None
    noise: float | None
    commit: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs of methods from starts; a run that is finished is recognised by its files.

    Attributes:
        output: folder of all runs.
        generated: folders of generated sets for the start of this name.
        overrides: KEY VALUE pairs of the methods' runs.
        pretraining: KEY VALUE pairs of the pre-trainings.
        others: labelled data sets of the start ``rendered``.
        target: data set without labels, on which all are tested.
    """

    output: Path
    generated: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    pretraining: tuple[str, ...] = ()
    others: tuple[str, ...] = OTHERS
    target: str = TARGET

    def outcome(self, method: Method, start: str, seed: int) -> Outcome:
        """Pre-train, train and test what is not done yet."""
        weights = self._pretrained(start, seed)
        given: tuple[str, ...] = ("MODEL.BACKBONE.PRETRAIN", str(weights is not None))
        if weights is not None:
            given += ("MODEL.BACKBONE.PRETRAIN_PATH", str(weights))
        overrides = (*method.settings, *self.overrides, *given)
        sources = (method.trained_on,)
        run = MatrixRun(method.recipe, sources, (self.target,), seed=seed, overrides=overrides)
        folder, metrics = self._run(run, self.output / method.name / start)
        first = _first_clusters(folder)
        return Outcome(
            method=method.name,
            uses=method.uses,
            start=start,
            seed=seed,
            rank1=metrics["Rank-1"],
            mean_ap=metrics["mAP"],
            ari=first.get("clusters/ari"),
            noise=first.get("clusters/noise_share"),
            commit=str(json.loads((folder / RESULT_FILE).read_text())["commit"]),
        )

    def _pretrained(self, start: str, seed: int) -> Path | None:
        """Train the backbone of a start; None for random weights."""
        if start == RANDOM:
            return None
        sources = self.others
        pairs = self.pretraining
        if start == GENERATED:
            sources = ("GeneratedPersons",)
            pairs = (*pairs, "DATASETS.GENERATED.ROOTS", repr(list(self.generated)))
        run = MatrixRun(PRETRAIN, sources, (self.target,), seed=seed, overrides=pairs)
        return self._run(run, self.output / "pretrained" / start)[0] / _WEIGHTS

    def _run(self, run: MatrixRun, place: Path) -> tuple[Path, dict[str, float]]:
        (cell,) = run_matrix([run], place).cells
        return run.folder(place), {name: float(value) for name, value in cell.metrics.items()}


def _first_clusters(folder: Path) -> dict[str, float]:
    """Read the figures of the first clustering from a run's metrics; {} without clusters."""
    for line in (folder / "metrics.json").read_text().splitlines():
        figures = json.loads(line)
        if "clusters/clusters" in figures:
            return figures
    return {}


def table(outcomes: Sequence[Outcome]) -> str:
    """Format a row for each method, with mAP and the first clusters' ARI from each start."""
    starts = list(dict.fromkeys(one.start for one in outcomes))
    rows = []
    for method, uses in dict.fromkeys((one.method, one.uses) for one in outcomes):
        row = [method, uses]
        for start in starts:
            own = [one for one in outcomes if (one.method, one.start) == (method, start)]
            found = [one.ari for one in own if one.ari is not None]
            row.append(str(Summary.of([one.mean_ap for one in own])) if own else "-")
            row.append(f"{statistics.fmean(found):.2f}" if found else "-")
        row.append(
            ", ".join(
                str(seed) for seed in sorted({one.seed for one in outcomes if one.method == method})
            )
        )
        rows.append(row)
    heads = [head for start in starts for head in (f"mAP, {start}", f"ARI, {start}")]
    return "\n".join(markdown_table(["method", "uses", *heads, "seeds"], rows))


def plot(outcomes: Sequence[Outcome], output: Path) -> Path:
    """Plot mAP of each method from each start: mean over seeds, a dot for each seed."""
    methods = list(dict.fromkeys(one.method for one in outcomes))
    starts = list(dict.fromkeys(one.start for one in outcomes))
    height = 0.8 / len(starts)
    figure = Figure(figsize=(7, 1.2 + 0.2 * len(methods) * (len(starts) + 1)), layout="constrained")
    axes = figure.subplots()
    for number, start in enumerate(starts):
        for place, method in enumerate(methods):
            found = [one.mean_ap for one in outcomes if (one.method, one.start) == (method, start)]
            if not found:
                continue
            y = place + (number - (len(starts) - 1) / 2) * height
            label = start if method == methods[0] else None
            axes.barh(y, statistics.fmean(found), height, color=COLOURS[number], label=label)
            axes.plot(found, np.full(len(found), y), "o", color="black", markersize=3)
    axes.set_yticks(range(len(methods)), methods)
    axes.invert_yaxis()
    axes.set_xlabel("mAP on the target after the last epoch, percent; dots are seeds")
    axes.legend(title="start", frameon=False)
    bare(axes)
    return save_figure(figure, output)


def main(args: argparse.Namespace) -> None:
    expect_writable(args.output, is_folder=True)
    starts = args.starts or [RANDOM, RENDERED, *([GENERATED] if args.generated else [])]
    if GENERATED in starts and not args.generated:
        raise ValueError(
            "expected folders of generated sets for the start 'generated', got none; "
            "give --generated"
        )
    comparison = Comparison(args.output, tuple(args.generated), tuple(args.opts))
    outcomes: list[Outcome] = []
    for seed in args.seeds:
        for method in _chosen(args.methods):
            for start in starts:
                outcomes.append(comparison.outcome(method, start, seed))
                _write(outcomes, args.output)
    print(table(outcomes))


def _chosen(names: Sequence[str]) -> list[Method]:
    known = {method.name: method for method in METHODS}
    for name in names:
        if name not in known:
            raise ValueError(unknown_name("--methods", name, known))
    return [method for method in METHODS if not names or method.name in names]


def _write(outcomes: Sequence[Outcome], output: Path) -> None:
    content = json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1)
    atomic_write_text(output / "table.json", content + "\n")
    atomic_write_text(output / "table.md", table(outcomes) + "\n")
    plot(outcomes, output / "table.png")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=[], help="names; default: all")
    parser.add_argument(
        "--starts",
        nargs="+",
        choices=[RANDOM, RENDERED, GENERATED],
        default=[],
        help="default: all",
    )
    parser.add_argument("--generated", nargs="+", default=[], help="folders of generated sets")
    parser.add_argument("--output", type=Path, default=Path("logs/miniature/unsupervised"))
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse(sys.argv[1:]))
