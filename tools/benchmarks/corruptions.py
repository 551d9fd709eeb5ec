"""Measure the corruptions, reference and fast, beside imagecorruptions and imagecorruptions-imaug.

    python tools/benchmarks/corruptions.py
    python tools/benchmarks/corruptions.py --severity 3 --names fog snow --rounds 21
    pip install --no-deps --target imaug imagecorruptions-imaug==1.1.5
    python tools/benchmarks/corruptions.py --imaug imaug

Milliseconds of CPU time per image on one thread: medians of rounds in which the methods take turns,
each on the same few images. The mixes are means over corruptions, since each is equally frequent.
imagecorruptions is 1.1.2 as `fastreid_ext.compat.imagecorruptions` repairs it; imaug has the same
import name and so is read from a folder of its own.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import importlib.util
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import torch

from fastreid_ext.command_line import short_errors
from fastreid_ext.compat.imagecorruptions import reference
from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES, corrupt
from measuring.corruptions import (
    Method,
    milliseconds_per_image,
    person_like,
    ratio_table,
    summary,
)

OF_REFERENCE = CORRUPTION_NAMES[:19]  # rain has nothing to be compared with
OURS = ("reference", "fast")


def imaug_from(folder: Path) -> types.ModuleType:
    """Import imagecorruptions-imaug under another name."""
    source = folder / "imagecorruptions" / "__init__.py"
    if not source.exists():
        raise FileNotFoundError(
            f"expected {source}; make it with: pip install --no-deps --target {folder} "
            "imagecorruptions-imaug==1.1.5"
        )
    spec = importlib.util.spec_from_file_location("imagecorruptions_imaug", source)
    sys.modules["imagecorruptions_imaug"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def methods(severity: int, imaug_folder: Path | None) -> dict[str, Method]:
    legacy = np.random.RandomState(0)
    rng = np.random.default_rng(0)
    old = reference()
    found: dict[str, Method] = {"1.1.2": lambda image, name: old.corrupt(image, severity, name)}
    if imaug_folder is not None:
        imaug = imaug_from(imaug_folder)
        found["imaug"] = lambda image, name: imaug.corrupt(image, severity, name)
    found["reference"] = lambda image, name: corrupt(image, name, severity, legacy, reference=True)
    found["fast"] = lambda image, name: corrupt(image, name, severity, rng)
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--severity", nargs="+", type=int, choices=range(1, 6), default=[3, 5])
    parser.add_argument("--names", nargs="+", choices=OF_REFERENCE, default=list(OF_REFERENCE))
    parser.add_argument("--imaug", type=Path, help="folder with imagecorruptions-imaug 1.1.5")
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--images", type=int, default=4, help="corrupted by each method in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    images = [person_like(args.height, args.width, seed) for seed in range(args.images)]
    found = []
    for severity in args.severity:
        runs = methods(severity, args.imaug)
        rows = milliseconds_per_image(runs, args.names, images, args.rounds)
        print(f"\nseverity {severity}, {args.height}x{args.width}")
        print(ratio_table(rows, list(runs), OURS), flush=True)
        found.append(f"severity {severity}, {summary(rows, list(runs), OURS)}")
    print("\n" + "; ".join(found))


if __name__ == "__main__":
    with short_errors():
        main(parse())
