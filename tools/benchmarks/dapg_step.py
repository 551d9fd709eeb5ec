"""Measure the share of loading and corrupting in a step of DAPG's stage 1.

    python tools/benchmarks/dapg_step.py --device cuda
    python tools/benchmarks/dapg_step.py --device cpu --depth 18x --size 64 32 --batch 4 --rounds 1

Seconds of a batch: the model's step (forward, backward, optimizer) on views that are on the device;
corruption chains and mixture of the batch on the device (`INPUT.CORRUPTION.WHERE` device); and one
core's time for the loader's three crops of each image, divided by --cores. On a GPU the loader and
the step overlap, so that the loader costs only what it takes longer than the step. Medians of
rounds in which the parts take turns; the goal is a share of 20 %.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import torch
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.command_line import short_errors
from fastreid_ext.data.dataset import collate
from fastreid_ext.data.transforms.dapg_on_device import DapgOnDevice
from fastreid_ext.data.transforms.on_batch import flatten_views, to_float
from measuring.corruptions import person_like
from measuring.dapg_views import our_loader, stage_1
from measuring.timing import seconds, seconds_in_turns
from measuring.training_step import build_step

GOAL = 0.2


def shares(step: float, corruption: float, loader: float) -> dict[str, float]:
    """Compute shares of the whole step from the seconds of its parts for one batch.

    Example:
        >>> found = shares(step=0.08, corruption=0.02, loader=0.05)  # the loader is hidden
        >>> found["corruption"], found["data and corruption"]
        (0.2, 0.2)

    Args:
        step: seconds of the model.
        corruption: seconds of the corruptions on the device.
        loader: seconds of the loader, all its processes together.
    """
    busy = step + corruption
    whole = max(busy, loader)
    return {
        "corruption": corruption / whole,
        "waiting for the loader": (whole - busy) / whole,
        "data and corruption": (whole - step) / whole,
    }


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Measure the three parts, in seconds for a batch."""
    device = torch.device(args.device)
    size = (args.size[0], args.size[1])
    words = ["MODEL.BACKBONE.DEPTH", args.depth, "SOLVER.IMS_PER_BATCH", args.batch]
    cfg = stage_1("device", size, [*words, "MODEL.DEVICE", args.device], device.type != "cpu")
    torch.manual_seed(0)
    model = build_model(cfg).train()
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{number}.jpg") for number in range(args.batch)]
        for number, file in enumerate(files):
            cv2.imwrite(file, person_like(*size, number)[:, :, ::-1])
        load = our_loader(files, size, where="device")
        batch = collate(load())
        on_device = {**batch, "images": batch["images"].to(device)}
        corrupt = DapgOnDevice()
        views = to_float(flatten_views(corrupt(on_device)))
        with EventStorage():
            step = build_step(cfg, model, views)
            parts = {"step": step, "corruption": lambda: corrupt(on_device)}
            for run in (*parts.values(), load):
                run()  # compiles
            times = seconds_in_turns(parts, args.rounds, args.device)
        loads = [seconds(load, "cpu") for _ in range(args.rounds)]
    found = {name: statistics.median(values) for name, values in times.items()}
    return {**found, "loader": statistics.median(loads) / args.cores}


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    found = measure(args)
    share = shares(**found)
    print(", ".join(f"{name} {1e3 * value:.1f} ms" for name, value in found.items()))
    print(", ".join(f"{name} {100 * value:.0f} %" for name, value in share.items()))
    is_met = share["data and corruption"] <= GOAL
    print(f"goal of at most {100 * GOAL:.0f} %: {'met' if is_met else 'missed'}")
    if args.json:
        figures: Mapping[str, object] = {"seconds": found, "shares": share, "goal met": is_met}
        atomic_write_text(args.json, json.dumps(figures, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--depth", default="50x", help="of the ResNet")
    parser.add_argument("--size", type=int, nargs=2, default=[256, 128], help="height and width")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="loader processes")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
