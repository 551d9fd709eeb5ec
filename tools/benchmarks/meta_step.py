"""Measure MetaBIN's iteration against two steps' worth of images in plain steps.

    python tools/benchmarks/meta_step.py --device cuda
    python tools/benchmarks/meta_step.py --device cpu --size 96 48 --batch 24 --depth 18x --rounds 3

An iteration sends twice the images of a plain step through the network: an ordinary step of one
half, and the meta-train and meta-test passes of the other, for which only gates need gradients.
Both steps have one backbone, head and optimizer. Medians of rounds in which both take turns; on the
CPU processor time of one thread. The goal is at most 2.1 times the plain step.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.engine.meta_step import step_kind
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.step import autocast_dtype
from fastreid_ext.modeling.batch_instance_norm import GATES
from fastreid_ext.modeling.training_model import build_training_model
from measuring.timing import seconds_in_turns
from measuring.training_step import random_batch

GOAL = 2.1
DOMAINS = 3
RECIPE = "projects/DomainGeneralisation/configs/Base-MetaBIN.yml"


class Batches:
    """The same batch again and again, with the seed of a loader."""

    seed = 0

    def __init__(self, cfg: CfgNode) -> None:
        self._batch = random_batch(cfg)
        targets = self._batch["targets"]
        self._batch["domains"] = targets % DOMAINS

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield copies: the host's models normalise their images in place."""
        return (self._batch | {"images": self._batch["images"].clone()} for _ in itertools.count())


def build(args: argparse.Namespace, *changes: object) -> Callable[[], bool]:
    """Build the step of a configuration, MetaBIN's or the plain one."""
    size = [args.size[0], args.size[1]]
    words = [
        *("MODEL.DEVICE", args.device, "MODEL.BACKBONE.PRETRAIN", False),
        *("MODEL.BACKBONE.DEPTH", args.depth, "MODEL.HEADS.NUM_CLASSES", 1000),
        *("SOLVER.AMP.ENABLED", args.device != "cpu"),
        *("INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size),
        *changes,
    ]
    root = Path(__file__).resolve().parents[2]
    cfg = load_config(root / RECIPE, [str(word) for word in words])
    torch.manual_seed(0)
    model = build_training_model(cfg).train()
    optimizer, wrapper = build_optimizer(cfg, model, without=(GATES,))
    options = {"autocast_dtype": autocast_dtype(cfg), "max_skipped": 0}
    step = step_kind(cfg, 1000)(model, Batches(cfg), optimizer, wrapper, **options)
    step.start()
    return lambda: step.run(0)


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    plain = ("MODEL.BIN.ENABLED", False, "SOLVER.IMS_PER_BATCH", args.batch)
    meta = ("SOLVER.META.TEST_DOMAINS", 1, "SOLVER.IMS_PER_BATCH", 2 * args.batch)
    with EventStorage():
        steps = {
            "plain": build(args, *plain),
            "MetaBIN": build(args, *meta),
        }
        for step in steps.values():
            step()  # reserves memory
        times = seconds_in_turns(steps, args.rounds, args.device)
    found = {name: statistics.median(values) for name, values in times.items()}
    ratio = found["MetaBIN"] / found["plain"]
    print(", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in found.items()))
    print(f"{ratio:.2f} times; goal of at most {GOAL}: ", end="")
    print("met" if ratio <= GOAL else "missed")
    if args.json:
        figures = {"seconds": found, "ratio": ratio, "goal met": ratio <= GOAL}
        atomic_write_text(args.json, json.dumps(figures, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--depth", default="50x", help="of the ResNet")
    parser.add_argument("--size", type=int, nargs=2, default=[256, 128], help="height and width")
    parser.add_argument("--batch", type=int, default=72, help="of the plain step; multiple of 24")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
