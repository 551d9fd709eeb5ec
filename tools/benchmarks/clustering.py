"""Measure Jaccard distances and DBSCAN of unlabelled images beside the dense way in numpy.

    python tools/benchmarks/clustering.py
    python tools/benchmarks/clustering.py --size market --rounds 1   # dense: 2.3 GB, a minute
    python tools/benchmarks/clustering.py --size msmt17 --no-dense

Both begin with the nearest images of each image, whose search is timed on its own. Time is CPU
time, the median of rounds; memory is the peak beyond the features, in a process of its own. The
labels of both are compared at several eps.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import statistics

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from fastreid_ext.command_line import short_errors
from fastreid_ext.neighbours.dbscan import dbscan_labels
from fastreid_ext.neighbours.jaccard import (
    TOLERANCE,
    jaccard_of_neighbours,
    nearest_by_cosine,
    unit_features,
)
from fastreid_ext.neighbours.knn import Nearest
from measuring.timing import QUALITIES, TestSetSize, peak_extra_mib, sample_test_set, seconds

# Training images and identities of the public sets.
SIZES = {
    "small": TestSetSize(0, 1_200, 70, 6),
    "third": TestSetSize(0, 4_312, 250, 6),
    "market": TestSetSize(0, 12_936, 751, 6),
    "msmt17": TestSetSize(0, 32_621, 1_041, 15),
}
EPS = 0.6
COMPARED_EPS = (0.4, 0.5, 0.6, 0.62)
K2 = 6


def dense_distances(features: NDArray, near: Nearest) -> NDArray:
    """Compute all Jaccard distances (N, N) as the methods' dense codes do, image by image."""
    index = near.index.numpy()
    count, k1 = index.shape
    half = round(k1 / 2) + 1

    def mutual(image: int, number: int) -> NDArray:
        forward = index[image, :number]
        return forward[(index[forward, :number] == image).any(axis=1)]

    weights = np.zeros((count, count), np.float32)
    for image in range(count):
        own = mutual(image, k1)
        expanded = own
        for candidate in own:
            further = mutual(candidate, half)
            if len(np.intersect1d(further, own)) > 2 / 3 * len(further):
                expanded = np.append(expanded, further)
        expanded = np.unique(expanded)
        squared = 2 - 2 * features[expanded] @ features[image]
        exponents = np.exp(-squared)
        weights[image, expanded] = exponents / exponents.sum()
    averaged = np.empty_like(weights)
    for image in range(count):
        averaged[image] = weights[index[image, :K2]].mean(axis=0)
    holders = [np.flatnonzero(averaged[:, image]) for image in range(count)]
    distances = weights  # used again, as these codes do: two N x N matrices at the peak
    for image in range(count):
        shared = np.zeros(count, np.float32)
        for member in np.flatnonzero(averaged[image]):
            of_member = holders[member]
            shared[of_member] += np.minimum(averaged[image, member], averaged[of_member, member])
        distances[image] = 1 - shared / (2 - shared)
    return distances.clip(min=0, out=distances)


def dense_labels(features: NDArray, near: Nearest) -> NDArray:
    return labels_of_dense(dense_distances(features, near), EPS)


def labels_of_dense(distances: NDArray, eps: float) -> NDArray:
    clustering = DBSCAN(eps=eps + TOLERANCE, min_samples=4, metric="precomputed")
    return clustering.fit(distances).labels_


def sparse_labels(features: torch.Tensor, near: Nearest) -> NDArray:
    return dbscan_labels(jaccard_of_neighbours(features, near, k2=K2), eps=EPS)


def measure(
    features: torch.Tensor, near: Nearest, args: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Measure seconds and MiB of both ways."""
    ways = {"ours": lambda: sparse_labels(features, near)}
    if not args.no_dense:
        ways["dense"] = lambda: dense_labels(features.numpy(), near)
    measured = {}
    for name, run in ways.items():
        memory = peak_extra_mib(run, "cpu")
        times = [seconds(run, "cpu") for _ in range(args.rounds)]
        measured[name] = (statistics.median(times), memory)
    return measured


def compare(features: torch.Tensor, near: Nearest) -> None:
    """Print how many labels differ between both ways at several eps."""
    dense = dense_distances(features.numpy(), near)
    sparse = jaccard_of_neighbours(features, near, k2=K2)
    for eps in COMPARED_EPS:
        ours = dbscan_labels(sparse, eps=eps)
        differing = int((ours != labels_of_dense(dense, eps)).sum())
        noise = (ours < 0).mean()
        print(f"eps {eps}: {ours.max() + 1} clusters, {noise:.0%} noise, {differing} labels differ")


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    sample = sample_test_set(SIZES[args.size], QUALITIES[args.quality], dim=args.dim)
    features = unit_features(sample.gallery)
    near = nearest_by_cosine(features, 30)
    search = seconds(lambda: nearest_by_cosine(features, 30), "cpu")
    sparse_labels(features[:100], nearest_by_cosine(features[:100], 30))  # compiles
    print(f"{len(features)} images x {args.dim}; search of the nearest: {search:.2f} s")
    measured = measure(features, near, args)
    for name, (time, memory) in measured.items():
        print(f"{name}: {time:.2f} s, {memory:.0f} MiB beyond the features")
    if not args.no_dense:
        print(f"dense / ours {measured['dense'][0] / measured['ours'][0]:.1f}")
        compare(features, near)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="third")
    parser.add_argument("--quality", choices=list(QUALITIES), default="medium")
    parser.add_argument("--dim", type=int, default=2048, help="width of the features")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-dense", action="store_true", help="leave the dense way out")
    return parser.parse_args()


if __name__ == "__main__":
    with short_errors():
        main(parse())
