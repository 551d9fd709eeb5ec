"""Measure the training step of the four standard baselines, and name what bounds it.

    python tools/benchmarks/baselines.py --device cuda
    python tools/benchmarks/baselines.py --device cpu --size 96 48 --batch 8 --steps 2 --workers 0

For each of BoT, AGW, SBS and MGN with random weights: images per second of the step alone (median
of --steps, on one random batch that is already on the device, up to the end of the device's work),
peak memory, the share of that time in which a GPU computes, and images per second of the recipe's
own loader on random JPEG files. The step is bound by the slower of loader and step; a step whose
GPU computes less than 90 % of the time is bound by the host. --json writes the same figures.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from fastreid.utils.events import EventStorage
from tabulate import tabulate

from fastreid_ext.atomic import atomic_write_text
from measuring.device_use import busy, forget_peak, peak_bytes
from measuring.timing import seconds
from measuring.training_step import build_step, random_batch
from fastreid_ext.command_line import short_errors
from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_train_loader

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BASELINES = {
    "BoT": "Base-bagtricks.yml",
    "AGW": "Base-AGW.yml",
    "SBS": "Base-SBS.yml",
    "MGN": "Base-MGN.yml",
}
_IDENTITIES = 751  # of Market-1501
_PROFILED_STEPS = 5
_BUSY_ENOUGH = 0.9  # share of the step; a GPU that computes less is waiting for the host


@dataclasses.dataclass(frozen=True)
class StepFigures:
    """Speed of one baseline's training.

    Attributes:
        baseline: name of the recipe.
        step_images_per_second: images per second of the step alone.
        loader_images_per_second: images per second of the loader alone.
        busy: share of the step's time in which the GPU computes, in [0, 1]; None on the CPU.
        peak_gib: peak memory in GiB, of the device or of the process on the CPU.
        parameters: number of trainable parameters.
    """

    baseline: str
    step_images_per_second: float
    loader_images_per_second: float
    busy: float | None
    peak_gib: float
    parameters: int

    @property
    def bound_by(self) -> str:
        """The slowest part: "loader", "host" (launches and waits), "GPU" or "CPU"."""
        if self.loader_images_per_second < self.step_images_per_second:
            return "loader"
        if self.busy is None:
            return "CPU"
        return "GPU" if self.busy >= _BUSY_ENOUGH else "host"


def configuration(args: argparse.Namespace, baseline: str, root: Path) -> CfgNode:
    """Return the recipe at the size that is measured, on one device."""
    pairs = {
        "MODEL.DEVICE": args.device,
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.BACKBONE.DEPTH": args.depth,
        "MODEL.BACKBONE.WITH_IBN": False,
        "MODEL.HEADS.NUM_CLASSES": _IDENTITIES,
        "INPUT.SIZE_TRAIN": list(args.size),
        "INPUT.SIZE_TEST": list(args.size),
        "SOLVER.IMS_PER_BATCH": args.batch,
        "SOLVER.AMP.ENABLED": args.device != "cpu",
        "SOLVER.FREEZE_ITERS": 0,
        "MODEL.FREEZE_LAYERS": [],
        "DATALOADER.NUM_INSTANCE": 4,
        "DATALOADER.NUM_WORKERS": args.workers,
        "DATASETS.NAMES": "('Market1501',)",
        "DATASETS.TESTS": "('Market1501',)",
        "DATASETS.ROOT": str(root),
    }
    if args.depth in ("18x", "34x"):
        pairs |= {"MODEL.BACKBONE.FEAT_DIM": 512, "MODEL.BACKBONE.WITH_NL": False}
    return load_config(
        CONFIGS / BASELINES[baseline], [part for pair in pairs.items() for part in pair]
    )


def write_market(root: Path, identities: int, size: tuple[int, int]) -> None:
    """Write random JPEG files of ``size`` (height, width), named as in Market-1501, 8 a person."""
    rng = np.random.default_rng(0)
    folder = root / "Market-1501-v15.09.15"
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / part).mkdir(parents=True)
    for pid, number in itertools.product(range(1, identities + 1), range(8)):
        # Smooth, so that a file is about as large as one of a person.
        coarse = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        name = f"{pid:04d}_c{number % 6 + 1}s1_{number:06d}_00.jpg"
        cv2.imwrite(str(folder / "bounding_box_train" / name), image)
        if pid <= 2 and number < 2:
            tests = ("query", "bounding_box_test")[number]
            cv2.imwrite(str(folder / tests / name), image)


def loader_rate(cfg: CfgNode, batches: int) -> float:
    """Return images per second of the training loader, after its workers have started."""
    loader = build_train_loader(cfg)
    stream = iter(loader)
    warm_up = max(2 * cfg.DATALOADER.NUM_WORKERS, 1)
    for _ in range(warm_up):
        next(stream)
    began = time.perf_counter()
    for _ in range(batches):
        next(stream)
    took = time.perf_counter() - began
    stream.close()
    return batches * cfg.SOLVER.IMS_PER_BATCH / took


def measure(args: argparse.Namespace, baseline: str, root: Path) -> StepFigures:
    """Measure the step and the loader of one baseline."""
    cfg = configuration(args, baseline, root)
    model = build_model(cfg)
    device = torch.device(cfg.MODEL.DEVICE)
    run = build_step(cfg, model, random_batch(cfg))
    with EventStorage():
        for _ in range(args.warm_up):
            run()
        forget_peak(device)
        times = [seconds(run, cfg.MODEL.DEVICE) for _ in range(args.steps)]
        peak = peak_bytes(device)
        share = busy(device, lambda: [run() for _ in range(_PROFILED_STEPS)])
    return StepFigures(
        baseline=baseline,
        step_images_per_second=args.batch / statistics.median(times),
        loader_images_per_second=loader_rate(cfg, args.loader_batches),
        busy=share,
        peak_gib=peak / 2**30,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def as_table(figures: list[StepFigures]) -> str:
    """Return the figures as a Markdown table."""
    heads = ["", "step, images/s", "GPU computes", "loader, images/s", "bound by", "peak, GiB"]
    rows = [
        [
            one.baseline,
            f"{one.step_images_per_second:.0f}",
            "" if one.busy is None else f"{100 * one.busy:.0f} %",
            f"{one.loader_images_per_second:.0f}",
            one.bound_by,
            f"{one.peak_gib:.2f}",
        ]
        for one in figures
    ]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def main(args: argparse.Namespace) -> None:
    """Measure every baseline, print the table, write the JSON file."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_market(root, max(args.batch // 4, 4), tuple(args.size))
        figures = [measure(args, baseline, root) for baseline in args.baselines]
    print(
        f"ResNet-{args.depth}, {args.size[0]}x{args.size[1]}, batch {args.batch} on {args.device}, "
        f"{args.workers} loader workers of {os.cpu_count()} cores"
    )
    print(as_table(figures))
    if args.json is not None:
        rows = [dataclasses.asdict(one) | {"bound_by": one.bound_by} for one in figures]
        atomic_write_text(args.json, json.dumps(rows, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (cuda)")
    parser.add_argument("--baselines", nargs="+", choices=BASELINES, default=list(BASELINES))
    parser.add_argument("--depth", default="50x", help="of the ResNet (50x)")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), help="height, width")
    parser.add_argument("--batch", type=int, default=64, help="images of a step (64)")
    parser.add_argument("--steps", type=int, default=20, help="measured steps (20)")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before them (5)")
    parser.add_argument("--loader-batches", type=int, default=20, help="measured batches (20)")
    workers = max(min((os.cpu_count() or 1) - 1, 12), 0)
    parser.add_argument("--workers", type=int, default=workers, help=f"of the loader ({workers})")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
