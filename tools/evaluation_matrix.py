r"""Train and test models x sources x settings x seeds, and write one table and its pictures.

    python tools/evaluation_matrix.py --config-file configs/RenderedCampus/AGW_R50.yml \
        --sources RenderedCampus RenderedMall --targets RenderedCampus RenderedMall RenderedStreet \
        --settings all few_shot_10 small_scale_10 --seeds 0 1 2 --output results/rendered

Several --config-file are several models; `A+B` is one source of two sets; the target VIPeR, PRID,
GRID or iLIDS is the mean of its ten splits. --protocol leave_one_out, single_source or supervised
makes targets of --sources; dcac_single_source and the like (fastreid_ext/data/protocols.py) name
both. Without any of these, each recipe has its own DATASETS.NAMES and TESTS, and recipes of one
file name are one model. The same command continues an interrupted matrix and retries failed runs.
--output then holds matrix.json, matrix.md, heat_map.png and, for settings that are shares of a set,
shares.png.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from command import add_pairs, parse_command, run, shard, tool_parser

if TYPE_CHECKING:
    from fastreid_ext.engine.matrix_plan import MatrixRun


def main(args: argparse.Namespace) -> None:
    from fastreid_ext.atomic import expect_writable
    from fastreid_ext.engine.matrix import run_matrix
    from fastreid_ext.evaluation.matrix import Table, write_table
    from fastreid_ext.evaluation.pictures.matrix import plot_heat_map, plot_shares, shares

    expect_writable(args.output, is_folder=True)
    report = run_matrix(
        planned(args),
        args.output,
        continue_on_error=args.continue_on_error,
        keep_weights=not args.discard_weights,
        shard=args.shard,
    )
    table = Table(report.cells)
    if table.rows:
        write_table(table, args.output)
        plot_heat_map(table, args.output / "heat_map.png")
        if shares(table):
            plot_shares(table, args.output / "shares.png")
        print(table.as_markdown())
    for folder, error in report.failed:
        print(f"failed: {folder}: {error.splitlines()[0]} (see error.txt there)", file=sys.stderr)
    print(
        f"{len(report.cells)} cells in {args.output}/matrix.md; {len(report.failed)} runs failed, "
        f"{report.unfinished} belong to other shards and are not finished"
    )
    if report.failed:
        sys.exit(1)


def planned(args: argparse.Namespace) -> list["MatrixRun"]:
    from fastreid_ext.data.protocols import planned_runs
    from fastreid_ext.engine.matrix_plan import matrix_runs, own_runs

    if not (args.sources or args.targets or args.protocol):
        return own_runs(
            args.config_file, settings=args.settings, seeds=args.seeds, overrides=args.opts
        )
    return matrix_runs(
        args.config_file,
        planned_runs(args.sources, args.targets, args.protocol),
        settings=args.settings,
        seeds=args.seeds,
        overrides=args.opts,
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", type=Path, nargs="+", required=True, help="recipes")
    parser.add_argument("--sources", nargs="+", default=[], help="training sets; A+B = together")
    parser.add_argument("--targets", nargs="+", default=[], help="test sets")
    parser.add_argument(
        "--protocol", default="", help="a rule for --sources, or the name of a protocol"
    )
    parser.add_argument("--settings", nargs="+", default=["all"], help="all, or DATASETS.SUBSET")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run for each (0)")
    parser.add_argument("--output", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--continue-on-error", action="store_true", help="note it and go on")
    parser.add_argument("--discard-weights", action="store_true", help="of runs that are tested")
    shards = {"metavar": "INDEX/COUNT", "help": "only every COUNT-th run, from INDEX on"}
    parser.add_argument("--shard", type=shard, default=(0, 1), **shards)
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
