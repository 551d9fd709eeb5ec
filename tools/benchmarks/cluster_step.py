"""Measure what Cluster-Contrast adds to a supervised step: the loss, and the memory after the step.

    python tools/benchmarks/cluster_step.py --device cuda
    python tools/benchmarks/cluster_step.py --device cpu --size 128 64 --batch 64 --rounds 3

Both steps (forward, backward, optimizer) have one batch, backbone, pooling and optimizer. The
supervised one has cross-entropy and triplet loss, fastreid's Baseline, on as many identities as the
other has clusters. Extraction and clustering, once in an epoch, are not in it:
tools/benchmarks/extraction.py and clustering.py measure these. Medians of rounds in which both take
turns; on the CPU processor time of one thread. The goal is at most 5 % more.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from measuring.timing import seconds_in_turns
from measuring.training_step import build_step, random_batch

GOAL = 0.05
RECIPE = "projects/Unsupervised/configs/Base-ClusterContrast.yml"
SUPERVISED = [
    *("UNSUPERVISED.ENABLED", False, "MODEL.META_ARCHITECTURE", "Baseline"),
    *("MODEL.LOSSES.NAME", "('CrossEntropyLoss', 'TripletLoss')"),
]


def configuration(args: argparse.Namespace, *changes: object) -> CfgNode:
    """Load the recipe at the size that is measured."""
    size = [args.size[0], args.size[1]]
    root = Path(__file__).resolve().parents[2]
    words = [
        *("MODEL.DEVICE", args.device, "MODEL.BACKBONE.PRETRAIN", False),
        *("MODEL.BACKBONE.DEPTH", args.depth, "MODEL.BN_GROUP", 0),
        *("MODEL.HEADS.NUM_CLASSES", args.clusters, "SOLVER.IMS_PER_BATCH", args.batch),
        *("INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size),
        *changes,
    ]
    return load_config(root / RECIPE, [str(word) for word in words])


def supervised_step(args: argparse.Namespace) -> Callable[[], object]:
    """Build the step of fastreid's Baseline."""
    cfg = configuration(args, *SUPERVISED)
    torch.manual_seed(0)
    return build_step(cfg, build_model(cfg).train(), random_batch(cfg))


def cluster_step(args: argparse.Namespace) -> Callable[[], object]:
    """Build the step of Cluster-Contrast, the update of its memory included."""
    cfg = configuration(args)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    width = model.memory.centroids.shape[1]
    features = torch.nn.functional.normalize(torch.randn(args.clusters, width), dim=1)
    model.begin_clusters(features, torch.arange(args.clusters))
    step = build_step(cfg, model, random_batch(cfg))
    return lambda: model.end_step(step())


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    with EventStorage():
        steps = {"supervised": supervised_step(args), "clusters": cluster_step(args)}
        for step in steps.values():
            step()  # reserves memory
        times = seconds_in_turns(steps, args.rounds, args.device)
    found = {name: statistics.median(values) for name, values in times.items()}
    more = found["clusters"] / found["supervised"] - 1
    print(", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in found.items()))
    print(f"{100 * more:+.1f} %; goal of at most {100 * GOAL:.0f} %: ", end="")
    print("met" if more <= GOAL else "missed")
    if args.json:
        figures = {"seconds": found, "share more": more, "goal met": more <= GOAL}
        atomic_write_text(args.json, json.dumps(figures, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--depth", default="50x", help="of the ResNet")
    parser.add_argument("--size", type=int, nargs=2, default=[256, 128], help="height and width")
    parser.add_argument("--batch", type=int, default=256, help="a multiple of 16")
    parser.add_argument("--clusters", type=int, default=750)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
