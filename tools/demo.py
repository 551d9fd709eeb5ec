"""Render persons, train on them, evaluate on identities never seen, and show the result.

Everything lands in one folder: the contact sheet, the run, ``comparison.json``, ``rank_lists.png``
and ``curves.png``. A second call continues where the first stopped.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from command import add_pairs, parse_command, run, tool_parser

if TYPE_CHECKING:
    from fastreid.config import CfgNode

    from fastreid_ext.evaluation.features import TestFeatures
    from fastreid_ext.evaluation.ranking import RankMetrics

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "demo.yml"
DOMAIN = "RenderedCampus"
DIFFICULTIES = ("easy", "hard")


def configuration(args: argparse.Namespace) -> "CfgNode":
    import torch

    from fastreid_ext.config import load_config

    device = "cuda" if torch.cuda.is_available() else "cpu"
    overrides = ["MODEL.DEVICE", device, "SOLVER.AMP.ENABLED", device == "cuda"]
    overrides += ["DATASETS.ROOT", str(args.output / "datasets"), "SEED", args.seed]
    return load_config(CONFIG, [*overrides, "OUTPUT_DIR", str(args.output / "train"), *args.opts])


def compare(test: "TestFeatures", histograms: "TestFeatures") -> dict[str, "RankMetrics"]:
    from fastreid_ext.evaluation.baselines import chance

    return {
        "trained model": test.metrics(),
        "colour histogram": histograms.metrics(),
        "chance": chance(*test.labels()),
    }


def main(args: argparse.Namespace) -> None:
    import torch
    from tabulate import tabulate

    from fastreid_ext.atomic import atomic_write_text
    from fastreid_ext.data.build import build_test_loader
    from fastreid_ext.engine import load_model, train
    from fastreid_ext.engine.results import commit, versions
    from fastreid_ext.evaluation.baselines import colour_histograms
    from fastreid_ext.evaluation.features import TestFeatures, extract_features
    from fastreid_ext.evaluation.pictures.rank_lists import plot_rank_lists
    from fastreid_ext.evaluation.pictures.training import plot_training
    from fastreid_ext.evaluation.ranking import column_title
    from fastreid_ext.rendered.plan import Settings
    from fastreid_ext.rendered.writer import render_domain

    settings = Settings(
        DOMAIN,
        args.train_identities,
        args.test_identities,
        args.images_per_identity,
        args.seed,
        difficulty=args.difficulty,
    )
    render_domain(settings, args.output / "datasets", workers=args.workers)
    cfg = configuration(args)
    folder = Path(cfg.OUTPUT_DIR)
    train(cfg, resume=(folder / "last_checkpoint").exists())

    loader, num_query = build_test_loader(cfg, DOMAIN)
    test = extract_features(load_model(cfg, folder / "model_final.pth"), loader, num_query)
    histograms = torch.from_numpy(colour_histograms(test.paths))
    rows = compare(test, TestFeatures(histograms, test.pids, test.camids, test.paths, num_query))
    table = {name: metrics.percentages() for name, metrics in rows.items()}
    content = {
        "percent, mAP by fastreid's rule": table,
        "queries": num_query,
        "rendered": dataclasses.asdict(settings),
        "run": str(folder / "result.json"),
        "commit": commit(),
        "versions": versions(),
    }
    atomic_write_text(args.output / "comparison.json", json.dumps(content, indent=2) + "\n")
    plot_rank_lists(test, args.output / "rank_lists.png")
    plot_training(folder / "metrics.json", args.output / "curves.png")
    columns = ["", *map(column_title, next(iter(table.values())))]
    body = [[name, *values.values()] for name, values in table.items()]
    print(
        f"{DOMAIN}: {num_query} queries of {len(set(test.pids))} identities never seen in training;"
        " percent\n"
        + tabulate(body, headers=columns, floatfmt=".1f", tablefmt="github")
        + f"\nPictures: {args.output}/{{rank_lists,curves}}.png,"
        f" {args.output}/datasets/{DOMAIN}/contact_sheet.png"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for everything")
    parser.add_argument("--train-identities", type=int, default=200)
    parser.add_argument("--test-identities", type=int, default=80)
    parser.add_argument("--images-per-identity", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="hard", help="of the persons")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="rendering processes")
    add_pairs(parser)
    return parse_command(parser, arguments)


if __name__ == "__main__":
    run(main, parse())
