"""Measure the corruptions of whole batches on a device.

    python tools/benchmarks/batched_corruptions.py --device cuda
    python tools/benchmarks/batched_corruptions.py --device cpu --batch 16 --rounds 3

A table of every corruption alone and of the mixed batch of the 15 common ones, severities and kinds
sampled in each round: images per second (median of rounds in which they take turns; on CUDA wall
time up to the end of the GPU's work, else CPU time), and operations per bucket, each at least one
launch. Images are on the device before the clock starts. For --one-by-one, `corrupt` on the CPU
makes the same batch, one thread.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
from collections.abc import Callable

import numpy as np
import torch
from tabulate import tabulate

from fastreid_ext.command_line import short_errors
from fastreid_ext.corruptions.gpu import BATCHED, corrupt_batch
from fastreid_ext.corruptions.cpu import COMMON_CORRUPTIONS, corrupt
from measuring.timing import median_seconds
from measuring.launches import LaunchCounter

MIXED = "mix of 15"
ONE_BY_ONE = "mix of 15, corrupt() on the CPU"


def noise_images(count: int, height: int, width: int) -> torch.Tensor:
    """Noise of a scale of 16 pixels: photographs have no more detail, and no value is rare."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, height // 16 + 1, width // 16 + 1, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width)).mul(255).to(torch.uint8)


def methods(args: argparse.Namespace, images: torch.Tensor) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    count = len(images)
    pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).cpu().numpy())

    def sampled(names: tuple[str, ...]) -> tuple[list[str], list[int], list[int]]:
        kinds = [names[kind] for kind in rng.integers(len(names), size=count)]
        return kinds, rng.integers(1, 6, count).tolist(), rng.integers(2**31, size=count).tolist()

    def one_by_one() -> None:
        for image, *one in zip(pixels, *sampled(COMMON_CORRUPTIONS), strict=True):
            corrupt(image, one[0], one[1], np.random.default_rng(one[2]))

    found = {MIXED: lambda: corrupt_batch(images, *sampled(COMMON_CORRUPTIONS))}
    for name in BATCHED:
        found[name] = lambda name=name: corrupt_batch(images, *sampled((name,)))
    return found | ({ONE_BY_ONE: one_by_one} if args.one_by_one else {})


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    runs = methods(args, noise_images(args.batch, *args.size).to(args.device))
    for run in runs.values():
        for _ in range(args.warm_up):  # tables, kernels, plans of Fourier transforms
            run()
    times = median_seconds(runs, args.rounds, args.device)
    rows = []
    for name, run in runs.items():
        with LaunchCounter() as counter:
            run()
        waits = sum(counter.waits.values())
        rows.append([name, args.batch / times[name], counter.launches, waits])
    print(tabulate(rows, headers=["", "images/s", "operations", "waits"], floatfmt=".0f"))
    rows = dict(zip(runs, rows, strict=True))
    print(
        f"{args.device}, batch {args.batch} of {args.size[0]}x{args.size[1]}: {rows[MIXED][1]:.0f} "
        f"mixed images/s, {1e3 * times[MIXED]:.2f} ms and {rows[MIXED][2]} operations a batch"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, default=64, help="images")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), help="height, width")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=10, help="rounds before the clock starts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one-by-one", action="store_true", help="also the CPU's corrupt()")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
