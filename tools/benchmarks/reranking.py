"""Measure k-reciprocal re-ranking beside fastreid's dense code.

    python tools/benchmarks/reranking.py
    python tools/benchmarks/reranking.py --size market --rounds 1    # fastreid's: 9 GB, minutes
    python tools/benchmarks/reranking.py --size market --no-dense --device cuda

fastreid's ``re_ranking`` takes finished distances and so does no matrix product; it is compared
with ours less the products. Time is CPU time, the median of rounds in which the two take turns; on
CUDA wall time up to the end of the GPU's work. Memory is the peak beyond the features (fastreid:
beyond the distances), each in a process of its own.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import statistics

import torch
from fastreid.evaluation.rerank import re_ranking
from fastreid.utils.compute_dist import build_dist

from fastreid_ext.command_line import short_errors
from measuring.timing import (
    QUALITIES,
    SIZES,
    SampledSet,
    ProductClock,
    sample_test_set,
    peak_extra_mib,
    seconds,
)
from fastreid_ext.evaluation.ranking import column_title, rank_distances
from fastreid_ext.evaluation.reranking import reranked_distances


def ours(test: SampledSet) -> None:
    for _ in reranked_distances(test.query, test.gallery, rule="released"):
        pass


def measure_ours(test: SampledSet, args: argparse.Namespace) -> float:
    """Return the seconds without the products."""
    memory = peak_extra_mib(lambda: ours(test), args.device)  # first, before memory lies ready
    times = []
    for _ in range(args.rounds):
        with ProductClock(args.device) as clock:
            times.append((seconds(lambda: ours(test), args.device), clock.seconds))
    total = statistics.median(whole for whole, _ in times)
    products = statistics.median(product for _, product in times)
    print(
        f"ours: {total:.2f} s, products {products:.2f} s, rest {total - products:.2f} s; "
        f"{memory:.0f} MiB beyond the features"
    )
    return total - products


def measure_dense(test: SampledSet, args: argparse.Namespace) -> float:
    """Print and return the seconds of fastreid's, and compare the results."""
    pairs = ((test.query, test.gallery), (test.query, test.query), (test.gallery, test.gallery))
    distances = [build_dist(*pair, "cosine") for pair in pairs]
    time = seconds(lambda: distances.append(re_ranking(*distances)), "cpu")
    chunks = list(reranked_distances(test.query, test.gallery, rule="released"))
    gap = (torch.cat(chunks) - torch.from_numpy(distances[-1])).abs()
    for name, values in (("ours", iter(chunks)), ("fastreid", distances[-1])):
        metrics = rank_distances(values, *test.labels)
        line = "  ".join(
            f"{column_title(key)} {value:.3f}" for key, value in metrics.percentages().items()
        )
        print(f"{name}: {line}")
    print(
        f"fastreid: {time:.2f} s without products; differs by {gap.mean():.1e} on average, "
        f"{gap.max():.1e} at most"
    )
    return time


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    sampled = sample_test_set(SIZES[args.size], QUALITIES[args.quality])
    test = SampledSet(
        sampled.query.to(args.device), sampled.gallery.to(args.device), sampled.labels
    )
    ours(sample_test_set(SIZES["small"], 1.0, dim=16))  # compiles
    rest = measure_ours(test, args)
    if not args.no_dense:
        print(f"without products: fastreid / ours {measure_dense(sampled, args) / rest:.1f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="third")
    parser.add_argument("--quality", choices=list(QUALITIES), default="medium")
    parser.add_argument("--rounds", type=int, default=3, help="of ours; fastreid's runs once")
    parser.add_argument("--no-dense", action="store_true", help="leave fastreid's out")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, of ours")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
