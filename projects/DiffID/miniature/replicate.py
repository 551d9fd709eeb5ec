r"""Replicate Diff-ID in miniature: what do generated poses and views give a biased training set?

    make miniature-diff-id       # renders the sets, trains the base models, and runs this module
    python -m projects.DiffID.miniature.replicate --seeds 0 1 2

The training set shows 80 persons who walk towards the camera; the test set other persons from all
sides, a third of them in unusual poses. Trains the generators, generates the set of each row of the
paper's table 1, renders the upper bound, trains the Re-ID model on each, and measures whose images
were generated and how well pose and view were met. The same command continues. Results in --output:
table.json, table.md, table.png, strips.png. KEY VALUE pairs at the end hold for all configurations.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.engine.matrix import run_matrix
from fastreid_ext.engine.matrix_plan import MatrixRun
from fastreid_ext.engine.results import commit, versions
from fastreid_ext.evaluation.matrix import Cell
from projects.DiffID.augmented_runs import AugmentedRuns
from projects.DiffID.leakage import generator_statement, leakage_statement
from projects.DiffID.miniature.generated_sets import CONFIGS, GENERATORS, GeneratedSets
from projects.DiffID.miniature.measures import Measured, Measures
from projects.DiffID.miniature.report import write_report
from projects.DiffID.miniature.rows import FULL, GENERATED, TABLE, TRANSFER, TRUTH, TableRow
from projects.DiffID.miniature.strips import plot_strips
from tools.command import add_pairs, parse_command

_log = logging.getLogger(__name__)


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sets = GeneratedSets(args.output, args.base, args.data, tuple(args.opts))
    for name in GENERATORS:
        _log.info("generator %s: %s", name, sets.generator(name))
    folders = {key: sets.folder(key) for key in (*GENERATED, TRUTH)}
    judge, transferred = judge_of(args)
    measured = measure_sets(args, sets, folders, judge)
    show(args, sets, folders)
    cells: dict[str, list[Cell]] = {key: [] for key in args.rows}
    cells[TRANSFER] = transferred
    for seed in args.seeds:
        for key in args.rows:
            cells[key] += measure_row(args, key, TABLE[key], folders, judge, seed)
    cells = {key: found for key, found in cells.items() if found}
    cfg = runs_of(args, 0).configuration()
    statements = [leakage_statement(cfg, folders[FULL])]
    for name in GENERATORS:
        statements.append(f"{name}: {generator_statement(cfg, sets.generator(name))}")
    about = {"commit": commit(), "versions": versions(), "opts": args.opts}
    print(write_report(cells, measured, statements, args.output, about))


def judge_of(args: argparse.Namespace) -> tuple[Path, list[Cell]]:
    """Train the Re-ID model of the other persons; return its weights and its test."""
    recipe = CONFIGS / "judge.yml"
    cfg = load_config(recipe)
    run = MatrixRun(
        recipe,
        tuple(cfg.DATASETS.NAMES),
        ("RenderedCampus",),
        overrides=("DATASETS.ROOT", str(args.data), *args.opts),
    )
    report = run_matrix([run], args.output / "judge")
    return run.folder(args.output / "judge") / "model_final.pth", report.cells


def measure_sets(
    args: argparse.Namespace, sets: GeneratedSets, folders: dict[str, Path], judge: Path
) -> list[Measured]:
    """Measure identity, view and pose of real, generated and truly rendered images."""
    root = ["DATASETS.ROOT", str(args.data), "MODEL.BACKBONE.PRETRAIN", "False", *args.opts]
    measures = Measures(
        (load_config(CONFIGS / "judge.yml", root), judge),
        load_config(CONFIGS / "generator_other.yml", root),
        sets.job(FULL),
        args.output / "pose_probe.pth",
        probe_steps=args.probe_steps,
    )
    found = measures.of_real()
    for key, folder in folders.items():
        is_generated = key in GENERATED
        plan = sets.plan(key if is_generated else FULL)
        found.append(measures.of_set(key, folder, plan, has_points=is_generated))
    return found


def show(args: argparse.Namespace, sets: GeneratedSets, folders: dict[str, Path]) -> None:
    """Plot the images of V and VI, which have one plan, beside the truth."""
    columns = {"V, scratch": folders["V"], "VI": folders[FULL], "truth": folders[TRUTH]}
    picture = args.output / "strips.png"
    plot_strips(sets.plan(FULL), columns, args.data / "RenderedCampus", picture)


def runs_of(args: argparse.Namespace, seed: int, start: Sequence[str] = ()) -> AugmentedRuns:
    return AugmentedRuns(
        recipe=CONFIGS / "reid.yml",
        output=args.output / "runs",
        seeds=(seed,),
        overrides=("DATASETS.ROOT", str(args.data), *start, *args.opts),
    )


def measure_row(
    args: argparse.Namespace,
    key: str,
    row: TableRow,
    folders: dict[str, Path],
    judge: Path,
    seed: int,
) -> list[Cell]:
    """Train and test a row with a seed if that is not done; with --table-only, only read it."""
    start: tuple[str, ...] = ()
    if row.pretrained:
        start = ("MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", str(judge))
    generated = folders[row.generated] if row.generated else None
    runs = runs_of(args, seed, start)
    if args.table_only:
        return runs.finished(key, generated, row.images)
    cells = runs.measure(key, generated, row.images)
    _log.info("seed %d, %s: mAP %.1f", seed, row.title, cells[0].metrics["mAP"])
    return cells


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path("logs/miniature/diff_id")
    trained = [key for key in TABLE if key != TRANSFER]
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=trained, default=trained)
    parser.add_argument("--output", type=Path, default=folder, help="folder of runs and results")
    parser.add_argument("--base", type=Path, default=folder / "base", help="the base models")
    parser.add_argument("--data", type=Path, default=Path("datasets/diff_id"), help="rendered sets")
    parser.add_argument(
        "--table-only", action="store_true", help="of what is finished; train no Re-ID model"
    )
    parser.add_argument("--probe-steps", type=int, default=1200, help="of the pose measurement")
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    with short_errors():
        main(parse(sys.argv[1:]))
