"""Measure our AugMix beside fastreid's.

    python tools/benchmarks/augmix.py
    python tools/benchmarks/augmix.py --operations

Each depth of the chains is a row: CPU milliseconds for an image (median of rounds in which both
methods take turns on the same images), for fastreid's transform and for ours. fastreid's is given
the same severity, width, depth and alpha; it takes PIL images and ours takes arrays, as in
training. With --operations each operation is a row in microseconds, at random levels up to 2.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
from collections.abc import Callable

import cv2
import numpy as np
import torch
from fastreid.data.transforms import AugMix as HostAugMix
from fastreid.data.transforms import functional as host_operations
from PIL import Image
from tabulate import tabulate

from fastreid_ext.command_line import short_errors
from fastreid_ext.data.transforms.augmix import AugMix
from fastreid_ext.data.transforms.augmix_operations import OPERATION_NAMES, Operation, operated
from measuring.timing import median_seconds


def sample_images(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Make smooth images with noise of (height, width) ``size``."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        image = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
        images.append(np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8))
    return images


def mixtures(images: list[np.ndarray], depth: int) -> dict[str, Callable[[], object]]:
    host = HostAugMix(
        prob=1, aug_prob_coeff=1, mixture_width=3, mixture_depth=depth, aug_severity=3
    )
    of_pillow = [Image.fromarray(image) for image in images]
    rng = np.random.default_rng(0)
    ours = AugMix(depth=depth)
    return {
        "fastreid": lambda: [host(image) for image in of_pillow],
        "ours": lambda: [ours(image, rng) for image in images],
    }


def operations(images: list[np.ndarray], name: str) -> dict[str, Callable[[], object]]:
    host = getattr(host_operations, name)
    of_pillow = [Image.fromarray(image) for image in images]
    levels = np.random.default_rng(0).uniform(0.1, 2, len(images))
    steps = [Operation(name, level, 1) for level in levels.tolist()]
    return {
        "fastreid": lambda: [host(image, 2) for image in of_pillow],
        "ours": lambda: [operated(*pair) for pair in zip(images, steps, strict=True)],
    }


def main(args: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    images = sample_images(args.images, args.size)
    rows = []
    ratios = []
    for depth in (1, 3, -1):
        methods = mixtures(images, depth)
        for run in methods.values():
            run()  # compiles
        times = median_seconds(methods, args.rounds, "cpu")
        ratios.append(times["fastreid"] / times["ours"])
        each = [1e3 * seconds / len(images) for seconds in times.values()]
        rows.append([depth if depth > 0 else "1 to 3", *each, ratios[-1]])
    print(tabulate(rows, headers=["depth", *methods, "fastreid / ours"], floatfmt=".2f"))
    if args.operations:
        rows = []
        for name in OPERATION_NAMES:
            times = median_seconds(operations(images, name), args.rounds, "cpu")
            each = [1e6 * seconds / len(images) for seconds in times.values()]
            rows.append([name, *each, times["fastreid"] / times["ours"]])
        print(tabulate(rows, headers=["us", "fastreid", "ours", "ratio"], floatfmt=".1f"))
    print(f"AugMix is {min(ratios):.1f} to {max(ratios):.1f} times as fast as fastreid's")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), help="height and width")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--operations", action="store_true", help="also each operation")
    with short_errors():
        main(parser.parse_args())
