"""Measure how fast training images are loaded, beside fastreid's own pipeline.

    python tools/benchmarks/loading.py
    python tools/benchmarks/loading.py --sizes 256x128 --workers 0 1 4 --rounds 3

Rendered persons as JPEG files of each size (height x width) become batches of 256 x 128 with
padding, crop, mirror and erasing. "fastreid": its dataset, transforms and collator; "fast": ours
from files; "packed": ours from a packed set. Samples: CPU time of one process from files to a
batch; the methods take turns, medians. Loaders: CPU time of this process and its workers from start
to end, and images per second of wall time. Batches of fast and packed are uint8; their conversion
to float on this CPU (a GPU does it beside its work) is a line of its own.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import tempfile
from pathlib import Path

import cv2
import torch
from tabulate import tabulate

from fastreid_ext.command_line import short_errors
from measuring.loading import METHODS, Compared
from fastreid_ext.rendered.rendered_images import render_images
from fastreid_ext.rendered.plan import Settings, plan_identity


def size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def rendered_jpegs(folder: Path, height: int, width: int, identities: int) -> list[str]:
    """Write rendered persons, 16 images each, and return the files."""
    folder.mkdir()
    settings = Settings("RenderedCampus", identities, 0, 16, 0, height=height, width=width)
    for person_id in range(1, identities + 1):
        for image, data, _ in render_images(settings, plan_identity(settings, person_id)):
            (folder / f"{person_id:04d}_{image.index:04d}.jpg").write_bytes(data)
    return sorted(map(str, folder.iterdir()))


def show(seconds: dict[str, float], title: str) -> dict[str, float]:
    """Print seconds per image as a table; return the ratios to fastreid's."""
    ratios = {name: seconds["fastreid"] / value for name, value in seconds.items()}
    rows = [[name, 1000 * value, 1 / value, ratios[name]] for name, value in seconds.items()]
    print("\n" + tabulate(rows, headers=[title, "ms/image", "images/s", "x"], floatfmt=".3g"))
    return ratios


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=size, default=[(128, 64), (256, 128)])
    parser.add_argument("--identities", type=int, default=24, help="rendered, 16 images each")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=31, help="a fifth of it for loaders")
    parser.add_argument("--workers", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--loader-images", type=int, default=4096, help="of one loader run")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    said = []
    for height, width in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            paths = rendered_jpegs(folder / "images", height, width, args.identities)
            kib = sum(Path(path).stat().st_size for path in paths) / len(paths) / 1024
            print(f"\n{len(paths)} JPEG files {height}x{width}, {kib:.1f} KiB each")
            compared = Compared(paths, folder / "packed", batch=args.batch, rounds=args.rounds)
            ratios = show(compared.samples(), "samples, one process")
            print(f"to float, and erasing: {1000 * compared.device_steps():.3f} ms/image")
            for workers in args.workers:
                found = compared.loaders(workers, args.loader_images)
                show({name: cpu for name, (cpu, _) in found.items()}, f"loader, workers {workers}")
                show({name: wall for name, (_, wall) in found.items()}, "the same, wall time")
        parts = [f"{method} {ratios[method]:.1f}x" for method in METHODS[1:]]
        said.append(f"{height}x{width}: {', '.join(parts)} fastreid per core")
    print("\n" + "; ".join(said))


if __name__ == "__main__":
    with short_errors():
        main(parse())
