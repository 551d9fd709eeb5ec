"""Measure the ranking metrics beside the distance product alone and fastreid's Cython.

    python tools/benchmarks/ranking.py
    python tools/benchmarks/ranking.py --size msmt17 --rounds 1 --quality good
    python tools/benchmarks/ranking.py --device cuda --no-cython

Each quality of features is a table: seconds of every method (median of rounds in which they take
turns) and the peak of memory beyond the features, each in a process of its own. fastreid ranks
finished distances, so its stage is compared with ours on the same matrix (of at most
--stage-queries). Time is CPU time; on CUDA wall time up to the end of the GPU's work.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.utils.compute_dist import build_dist
from tabulate import tabulate

from fastreid_ext.command_line import short_errors
from measuring.timing import (
    QUALITIES,
    SIZES,
    SampledSet,
    sample_test_set,
    median_seconds,
    peak_extra_mib,
)
from fastreid_ext.evaluation.distances import CHUNK_VALUES
from measuring.host_cython import compiled_evaluate
from fastreid_ext.evaluation.ranking import RankMetrics, rank_distances, rank_metrics


def products_alone(test: SampledSet) -> None:
    rows = min(max(1, CHUNK_VALUES // len(test.gallery)), len(test.query))
    buffer = test.query.new_empty((rows, len(test.gallery)))
    for chunk in test.query.split(rows):
        torch.mm(chunk, test.gallery.T, out=buffer[: len(chunk)])


def methods(args: argparse.Namespace, test: SampledSet) -> dict[str, Callable[[], object]]:
    """Return the products and, on finished distances of the first queries, both rankings."""
    some = slice(0, args.stage_queries)
    ids = [test.labels[0][some], test.labels[1], test.labels[2][some], test.labels[3]]
    matrix = torch.from_numpy(build_dist(test.query[some], test.gallery, "cosine"))
    matrix = matrix.to(args.device)
    found: dict[str, Callable[[], object]] = {"products alone": lambda: products_alone(test)}
    found["ours, ranking"] = lambda: rank_distances(iter([matrix]), *ids)
    if not args.no_cython:
        evaluate = compiled_evaluate(args.cython_folder)
        distances = matrix.cpu().numpy()
        found["fastreid, ranking"] = lambda: evaluate(distances, *ids, 50)
    return found


def measure(args: argparse.Namespace, quality: str) -> None:
    sampled = sample_test_set(SIZES[args.size], QUALITIES[quality])
    test = SampledSet(
        sampled.query.to(args.device), sampled.gallery.to(args.device), sampled.labels
    )
    found: list[RankMetrics] = []
    runs = methods(args, test)
    runs["ours"] = lambda: found.append(rank_metrics(test.query, test.gallery, *test.labels))
    runs["ours, ranking"]()  # compiles
    memory = {name: peak_extra_mib(run, args.device) for name, run in runs.items()}
    times = median_seconds(runs, args.rounds, args.device)
    rows = [[name, times[name], memory[name]] for name in runs]
    print(f"\n{args.size}, {quality} features: mAP (fastreid) {100 * found[-1].mAP:.1f} %")
    print(tabulate(rows, headers=["", "seconds", "MiB beyond input"], floatfmt=("", ".3f", ".0f")))
    line = f"whole evaluation / products alone {times['ours'] / times['products alone']:.3f}"
    if "fastreid, ranking" in times:
        line += f"; ranking {times['fastreid, ranking'] / times['ours, ranking']:.1f}x fastreid"
    print(line)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="market")
    parser.add_argument("--quality", nargs="+", choices=list(QUALITIES), default=list(QUALITIES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stage-queries", type=int, default=3_368, help="ranked by fastreid")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-cython", action="store_true", help="leave fastreid's ranking out")
    # Not the temporary folder, where anybody could put a library for us to load.
    cache = Path.home() / ".cache" / "fastreid_ext" / "rank_cy"
    parser.add_argument("--cython-folder", type=Path, default=cache, help="where it is compiled")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    for quality in args.quality:
        measure(args, quality)


if __name__ == "__main__":
    with short_errors():
        main(parse())
