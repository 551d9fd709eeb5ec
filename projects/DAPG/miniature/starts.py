"""Compare starts of a Re-ID network: pre-train in one or more stages, train networks, test.

    python -m projects.DAPG.miniature.starts reasons --seeds 0 1 2 --output logs/miniature/dapg
    python -m projects.DAPG.miniature.starts pretrainings --corrupted
    python -m projects.DAPG.miniature.starts reasons --only random temperature DATASETS.ROOT /data

``reasons`` are stage 1 of DAPG and variants of it that differ in one thing, each of them a
candidate reason why stage 1 did not help. ``pretrainings`` are those of the paper's tables: random,
supervised, SimCLR, BYOL, stage 1 (as printed, and at temperature 0.1), stage 2, and both; the
networks are AGW-VI and CIL-VI on RenderedVI. The command continues where it was stopped. After each
run it renews ``<comparison>.json``, ``.md`` and ``.png`` in --output, with what is finished. KEY
VALUE pairs at the end hold for all runs.
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
from fastreid_ext.config import load_config
from fastreid_ext.config.load import FROM_CHECKPOINT
from fastreid_ext.engine.corruption_run import CorruptionRun, evaluate_corruption
from fastreid_ext.engine.matrix import run_matrix
from fastreid_ext.engine.matrix_plan import MatrixRun
from fastreid_ext.engine.results import RESULT_FILE
from fastreid_ext.evaluation.markdown import markdown_table
from fastreid_ext.evaluation.matrix import Summary
from fastreid_ext.pictures.png import COLOURS, bare, save_figure
from tools.command import add_pairs, parse_command

_REPOSITORY = Path(__file__).resolve().parents[3]
_CONFIGS = Path(__file__).resolve().parent / "configs"
AGW = _REPOSITORY / "configs" / "miniature" / "AGW.yml"
_TWO_STREAMS = _REPOSITORY / "projects" / "VisibleInfrared" / "miniature" / "configs"
UNLABELLED = ("RenderedMall", "RenderedStation", "RenderedStreet")
# Data set of training and test of each comparison.
PERSONS = {"reasons": "RenderedCampus", "pretrainings": "RenderedVI"}
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
_STAGE_1 = _CONFIGS / "reasons" / "js_negatives.yml"
_STAGE_1_AT_01 = _CONFIGS / "reasons" / "temperature.yml"
_STAGE_2 = _CONFIGS / "pretrainings" / "stage2.yml"
COMPARISONS = {
    "reasons": (
        Start(RANDOM),
        *(Start(name, (_CONFIGS / "reasons" / f"{name}.yml",)) for name in _REASONS),
    ),
    "pretrainings": (
        Start(RANDOM),
        Start("supervised", (_CONFIGS / "pretrainings" / "supervised.yml",)),
        Start("simclr", (_CONFIGS / "reasons" / "simclr.yml",)),
        Start("byol", (_CONFIGS / "pretrainings" / "byol.yml",)),
        Start("stage1", (_STAGE_1,)),
        Start("stage1_at_0.1", (_STAGE_1_AT_01,)),
        Start("stage2", (_STAGE_2,)),
        Start("both", (_STAGE_1, _STAGE_2)),
        Start("both_at_0.1", (_STAGE_1_AT_01, _STAGE_2)),
    ),
}
NETWORKS = {
    "reasons": (AGW,),
    "pretrainings": (_TWO_STREAMS / "AGW.yml", _TWO_STREAMS / "CIL.yml"),
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Percentages that one network reaches from one start with one seed.

    Attributes:
        start: name of the start.
        network: name of the network's recipe.
        seed: seed of the pre-training and of the training.
        steps: steps of the pre-training, all stages together.
        frozen: percentages of the pre-trained backbone's pooled feature; {} for random weights.
        tuned: percentages of the trained network.
        corrupted: means of its percentages over the repeats of the -C test set; {} if not tested.
        commit: commit of the code that trained it.
    """

    start: str
    network: str
    seed: int
    steps: int
    frozen: dict[str, float]
    tuned: dict[str, float]
    corrupted: dict[str, float]
    commit: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs of the starts; a run that is finished is recognised by its files.

    Attributes:
        output: folder of all runs.
        networks: recipes of the networks that are trained from each start.
        is_corrupted: whether to test on the -C test set too; one index is shared by all.
        unlabelled: data sets of the pre-training.
        persons: data set of the training and the test.
        overrides: KEY VALUE pairs of all runs.
    """

    output: Path
    networks: tuple[Path, ...] = (AGW,)
    is_corrupted: bool = False
    unlabelled: tuple[str, ...] = UNLABELLED
    persons: str = PERSONS["reasons"]
    overrides: tuple[str, ...] = ()

    def outcomes(self, start: Start, seed: int) -> list[Outcome]:
        """Pre-train, train and test what is not done yet; one outcome for each network."""
        weights: Path | None = None
        frozen: dict[str, float] = {}
        steps = 0
        for number, recipe in enumerate(start.stages, 1):
            place = self.output / start.name / f"stage{number}"
            folder, frozen = self._run(place, recipe, self.unlabelled, seed, weights)
            weights = folder / _WEIGHTS
            steps += _steps(folder)
        found = []
        for network in self.networks:
            folder, tuned = self._run(
                self.output / start.name / "tuned", network, (self.persons,), seed, weights
            )
            corrupted = self._corrupted(folder) if self.is_corrupted else {}
            commit = str(json.loads((folder / RESULT_FILE).read_text())["commit"])
            found.append(
                Outcome(start.name, network.stem, seed, steps, frozen, tuned, corrupted, commit)
            )
        return found

    def _corrupted(self, folder: Path) -> dict[str, float]:
        """Test a trained network on the -C test set; parts that are done are read."""
        results = evaluate_corruption(
            load_config(folder / "config.yaml", list(FROM_CHECKPOINT)),
            CorruptionRun(
                weights=folder / _WEIGHTS,
                dataset=self.persons,
                output=folder / "corruption",
                index=self.output / f"{self.persons}-C.jsonl",
            ),
        )
        return {name: results.corrupted(name).mean for name in METRICS}

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
    """Format a row for each start and network: means over seeds, and the gain over random."""
    rows = []
    for start, network in dict.fromkeys((one.start, one.network) for one in outcomes):
        own = [one for one in outcomes if (one.start, one.network) == (start, network)]
        frozen = [one.frozen["mAP"] for one in own if one.frozen]
        corrupted = [one.corrupted["mAP"] for one in own if one.corrupted]
        gains = gains_over_random(outcomes, own)
        rows.append(
            [
                start,
                network,
                str(own[0].steps),
                str(Summary.of(frozen)) if frozen else "-",
                *(str(Summary.of([one.tuned[metric] for one in own])) for metric in METRICS),
                str(Summary.of(corrupted)) if corrupted else "-",
                f"{statistics.fmean(gains):+.1f}" if gains and start != RANDOM else "-",
                ", ".join(str(one.seed) for one in own),
            ]
        )
    heads = ["start", "network", "steps", "mAP before training", *METRICS]
    return "\n".join(markdown_table([*heads, "mAP -C", "mAP over random", "seeds"], rows))


def gains_over_random(outcomes: Sequence[Outcome], own: Sequence[Outcome]) -> list[float]:
    """Compute the gains in mAP over random weights of the same network and seed, if known."""
    random = {(one.network, one.seed): one.tuned["mAP"] for one in outcomes if one.start == RANDOM}
    return [
        one.tuned["mAP"] - random[one.network, one.seed]
        for one in own
        if (one.network, one.seed) in random
    ]


def plot(outcomes: Sequence[Outcome], output: Path) -> Path:
    """Plot mAP of the trained networks: mean over seeds, a dot for each seed."""
    keys = list(dict.fromkeys((one.start, one.network) for one in outcomes))
    networks = list(dict.fromkeys(network for _, network in keys))
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(keys)), layout="constrained")
    axes = figure.subplots()
    for y, key in enumerate(keys):
        found = [one.tuned["mAP"] for one in outcomes if (one.start, one.network) == key]
        colour = COLOURS[networks.index(key[1])]
        axes.barh(y, statistics.fmean(found), color=colour, height=0.6, zorder=1)
        axes.plot(found, np.full(len(found), y), "o", color="black", markersize=4, zorder=2)
    labels = [start if len(networks) == 1 else f"{start}, {network}" for start, network in keys]
    axes.set_yticks(range(len(keys)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("mAP from this start, percent; dots are seeds")
    bare(axes)
    return save_figure(figure, output)


def main(args: argparse.Namespace) -> None:
    expect_writable(args.output, is_folder=True)
    starts = COMPARISONS[args.comparison]
    names = [start.name for start in starts]
    if unknown := sorted(set(args.only) - set(names)):
        raise ValueError(f"unknown starts {', '.join(unknown)}; choose --only from {names}")
    comparison = Comparison(
        args.output / args.comparison,
        networks=NETWORKS[args.comparison],
        is_corrupted=args.corrupted,
        persons=PERSONS[args.comparison],
        overrides=tuple(args.opts),
    )
    outcomes: list[Outcome] = []
    for seed in args.seeds:
        for start in starts:
            if args.only and start.name not in args.only:
                continue
            outcomes += comparison.outcomes(start, seed)
            _write(outcomes, args.output / args.comparison)
    print(table(outcomes))


def _write(outcomes: Sequence[Outcome], path: Path) -> None:
    content = json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1)
    atomic_write_text(path.with_suffix(".json"), content + "\n")
    atomic_write_text(path.with_suffix(".md"), table(outcomes) + "\n")
    plot(outcomes, path.with_suffix(".png"))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", choices=list(COMPARISONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=[], help="names of starts; default: all")
    parser.add_argument("--corrupted", action="store_true", help="test on the -C test set too")
    parser.add_argument("--output", type=Path, default=Path("logs/miniature/dapg"))
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse(sys.argv[1:]))
