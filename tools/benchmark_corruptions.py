"""Measure the corruptions, faithful and fast, beside imagecorruptions and imagecorruptions-imaug.

    python tools/benchmark_corruptions.py
    python tools/benchmark_corruptions.py --severity 3 --names fog snow --rounds 21
    pip install --no-deps --target imaug imagecorruptions-imaug==1.1.5
    python tools/benchmark_corruptions.py --imaug imaug

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
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tabulate import tabulate

from fastreid_ext.command_line import short_errors
from fastreid_ext.compat.imagecorruptions import reference
from fastreid_ext.data.transforms.corruptions import CORRUPTION_NAMES, corrupt
from fastreid_ext.evaluation.benchmarking import median_seconds

OF_REFERENCE = CORRUPTION_NAMES[:19]
Method = Callable[[NDArray[np.uint8], str], object]


def person_like(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return a figure of plain clothes before a blurred background, after JPEG of quality 90."""
    rng = np.random.default_rng(seed)
    image = sum(
        scale * cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), scale)
        for scale in (1.0, 4.0, 16.0)
    )
    image = 110 + 60 * image / image.std()
    middle = (width // 2, height // 2)
    for share, colour in ((0.42, rng.uniform(0, 255, 3)), (0.2, rng.uniform(0, 255, 3))):
        axes = (int(width * 0.25), int(height * share))
        cv2.ellipse(image, middle, axes, 0, 0, 360, colour.tolist(), -1)
    image += rng.normal(scale=4, size=image.shape)
    _, data = cv2.imencode(".jpg", np.clip(image, 0, 255), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


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


def methods(args: argparse.Namespace, severity: int) -> dict[str, Method]:
    legacy, rng = np.random.RandomState(0), np.random.default_rng(0)
    old = reference()
    found: dict[str, Method] = {"1.1.2": lambda image, name: old.corrupt(image, severity, name)}
    if args.imaug:
        imaug = imaug_from(args.imaug)
        found["imaug"] = lambda image, name: imaug.corrupt(image, severity, name)
    found["faithful"] = lambda image, name: corrupt(image, name, severity, legacy, faithful=True)
    found["fast"] = lambda image, name: corrupt(image, name, severity, rng)
    return found


def measure(args: argparse.Namespace, severity: int) -> str:
    images = [person_like(args.height, args.width, seed) for seed in range(args.images)]
    found, rows = methods(args, severity), {}
    for name in args.names:
        runs = {
            key: lambda run=run, name=name: [run(image, name) for image in images]
            for key, run in found.items()
        }
        if name != "glass_blur":
            runs["1.1.2"]()
        for key in runs.keys() - {"1.1.2"}:
            runs[key]()  # compiles, and fills the tables
        times = median_seconds(runs, args.rounds, "cpu")
        rows[name] = [1e3 * times[key] / len(images) for key in found]
    for count in (15, 19):
        if set(OF_REFERENCE[:count]) <= rows.keys():
            means = np.mean([rows[name] for name in OF_REFERENCE[:count]], axis=0)
            rows[f"mix of {count}"] = means.tolist()
    pairs = [(old, new) for new in ("faithful", "fast") for old in found if old[0] in "1i"]
    keys = list(found)
    table = [
        [name, *row, *(row[keys.index(old)] / row[keys.index(new)] for old, new in pairs)]
        for name, row in rows.items()
    ]
    headers = ["ms per image", *keys, *(f"{old} / {new}" for old, new in pairs)]
    formats = ["", *[".3f"] * len(keys), *[".1f"] * len(pairs)]
    print(f"\nseverity {severity}, {args.height}x{args.width}")
    print(tabulate(table, headers=headers, floatfmt=formats))
    return f"severity {severity}: {table[-1][0]} " + ", ".join(
        f"{header} {value:.1f}x"
        for header, value in zip(headers[-len(pairs) :], table[-1][-len(pairs) :], strict=True)
    )


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
    print("\n" + "\n".join([measure(args, severity) for severity in args.severity]))


if __name__ == "__main__":
    with short_errors():
        main(parse())
