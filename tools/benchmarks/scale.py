"""Measure memory and time of lists of millions of images; no image is needed.

    python tools/benchmarks/scale.py
    python tools/benchmarks/scale.py --images 4000000 --identities 200000

Lists of paths of a given length are held by this process and by loader workers that it forks, as a
list of tuples (fastreid's dataset), as arrays (ours), and as arrays with a packed set of images of
one pixel. Memory is what a process has alone (private pages; those of the packed file are the
system's cache and count only if written to), beyond that before the list was made; workers are
measured after each has read its share of the list and images and collected garbage. Peaks of
DATASETS.SUBSET are of resident memory, with the whole list, in a process that cuts one of 20 images
per identity: first it samples and writes the subset, later it reads it. Batches are
timed as CPU time per batch of 64 identities with 4 images each. Last, a run of DAPG's stage 1
starts, and resumes, on a list of as many images (LUPerson has 4,180,000), and a folder of JPEG
files is listed and its headers are read.

    python tools/benchmarks/scale.py --parts start --images 4180000
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse

from tabulate import tabulate

from measuring.scale import CUTS, METHODS, batch_times, measured_cut, measured_memory
from measuring.start import measured_folder, measured_start
from fastreid_ext.command_line import short_errors


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--identities", type=int, default=200_000, help="for the samplers")
    parser.add_argument("--path-length", type=int, default=80, help="bytes in a path")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=100, help="timed, of each sampler")
    parser.add_argument("--files", type=int, default=100_000, help="in the folder that is listed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    return parser.parse_args()


def lists(args: argparse.Namespace) -> None:
    """Print memory and time of lists of paths, whole and cut."""
    millions = args.images / 1e6
    rows = []
    for method in METHODS:
        found = measured_memory(method, args.images, args.path_length, args.workers)
        rows.append([method, found.process / millions, found.worker / millions, found.seconds])
    headers = ["list", "GB per million, process", "GB per million, worker", "s to make"]
    print(tabulate(rows, headers=headers, floatfmt=".3f"))
    rows = []
    for text in CUTS:
        *peaks, seconds = measured_cut(text, args.images, args.path_length)
        rows.append([text, *(peak / millions for peak in peaks), seconds])
    headers = ["DATASETS.SUBSET", "peak GB per million, first use", "later use", "s for both"]
    print("\n" + tabulate(rows, headers=headers, floatfmt=".3f"))


def samplers(args: argparse.Namespace) -> None:
    """Print times of the samplers of identities."""
    times = batch_times(args.images, args.identities, args.batches)
    rows = [[name, 1000 * batch, 1000 * enter] for name, (batch, enter) in times.items()]
    headers = [f"{args.identities} identities", "ms per batch", "ms to enter at image 10^8"]
    print("\n" + tabulate(rows, headers=headers, floatfmt=".3g"))


def start(args: argparse.Namespace) -> None:
    """Print times and memory of the start of a run, and times of a folder of files."""
    found = measured_start(args.images, args.path_length)
    print(f"\nstart on a list of {args.images} images, seconds and GB")
    print(tabulate([list(found.values())], headers=list(found), floatfmt=".3g"))
    listed, opened = measured_folder(args.files)
    millions = args.files / 1e6
    print(
        f"\na folder of {args.files} files, s per million: {listed / millions:.1f} to list, "
        f"{opened / millions:.0f} to open (one process)"
    )


PARTS = {"lists": lists, "samplers": samplers, "start": start}


def main(args: argparse.Namespace) -> None:
    for part in args.parts:
        PARTS[part](args)


if __name__ == "__main__":
    with short_errors():
        main(parse())
