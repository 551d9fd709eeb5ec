"""Measure the loader of DAPG's four views beside the same chain written with imagecorruptions.

    python tools/benchmarks/dapg_views.py
    python tools/benchmarks/dapg_views.py --images 8 --rounds 5

CPU milliseconds per image on one thread: reading a JPEG file, three crops with flip and grey scale,
six corruptions (one, two, three) and the mixture, to four uint8 views. The reference is Pillow,
torchvision and imagecorruptions 1.1.2, as `fastreid_ext.compat.imagecorruptions` repairs it. Both
have the keys of projects/DAPG/configs/LUPerson/dapg_stage1_R50.yml and sample kinds and severities
from the same distribution; each round they take turns with new samples. "device" is our loader when
the corruptions are left to the GPU (`INPUT.CORRUPTION.WHERE` device).
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import statistics
import tempfile
from pathlib import Path

import cv2
import torch
from tabulate import tabulate

from fastreid_ext.command_line import short_errors
from measuring.corruptions import person_like
from measuring.dapg_views import our_loader, reference_loader
from measuring.timing import median_ratio, seconds_in_turns


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16, help="loaded by each method in a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--height", type=int, default=256, help="of files and views")
    parser.add_argument("--width", type=int, default=128)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    size = (args.height, args.width)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{number}.jpg") for number in range(args.images)]
        for number, file in enumerate(files):
            cv2.imwrite(file, person_like(*size, number)[:, :, ::-1])
        methods = {
            "imagecorruptions": reference_loader(files, size),
            "ours": our_loader(files, size, where="resized"),
            "ours, device": our_loader(files, size, where="device"),
        }
        for run in methods.values():
            run()  # compiles, and fills tables
        times = seconds_in_turns(methods, args.rounds, "cpu")
    rows = [
        [
            name,
            1e3 * statistics.median(own) / args.images,
            median_ratio(times["imagecorruptions"], own),
        ]
        for name, own in times.items()
    ]
    print(tabulate(rows, headers=["loader", "ms per image", "times as fast"], floatfmt=".3g"))


if __name__ == "__main__":
    with short_errors():
        main(parse())
