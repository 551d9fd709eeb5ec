"""Measure SYSU-MM01's evaluation beyond feature extraction, on one core.

    OMP_NUM_THREADS=1 python tools/benchmarks/visible_infrared.py --rounds 3

3,803 infrared queries and features of 2048 dimensions, as in the test of SYSU-MM01; ten draws.
Time is CPU time, the smallest of the rounds, beside that of the matrix product alone. Queries that
find their identity late take longer: --strength 0.05.
"""

import fastreid_ext  # noqa: F401, I001  first: it repairs fastreid

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from tabulate import tabulate

from fastreid_ext.evaluation.visible_infrared import seeded_draws, sysu_metrics

IDENTITIES = 96
QUERIES = 3803
DIMENSION = 2048
# Images in the gallery, images drawn of each identity and camera.
CASES = ((3010, 1), (3010, 10), (6775, 1), (6775, 10))


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Measure the smallest CPU time of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def main(arguments: argparse.Namespace) -> None:
    """Print a table with a row for each case."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    centres = arguments.strength * rng.standard_normal((IDENTITIES, DIMENSION), dtype=np.float32)
    query_pids = rng.integers(0, IDENTITIES, QUERIES)
    query = centres[query_pids] + rng.standard_normal((QUERIES, DIMENSION), dtype=np.float32)
    query_camids = rng.choice([3, 6], QUERIES)
    rows = []
    for images, shots in CASES:
        pids = np.arange(images) % IDENTITIES
        camids = np.array([1, 2, 4, 5])[np.arange(images) // IDENTITIES % 4]
        gallery = centres[pids] + rng.standard_normal((images, DIMENSION), dtype=np.float32)
        draws = seeded_draws(pids, camids, [f"{i:05d}.jpg" for i in range(images)], shots=shots)
        used = torch.from_numpy(gallery[np.unique(np.concatenate(draws))])
        given = (query_pids, query_camids, gallery, pids, camids, draws)
        sysu_metrics(query[:50], query_pids[:50], query_camids[:50], *given[2:])  # compiles
        whole = seconds(lambda given=given: sysu_metrics(query, *given), arguments.rounds)
        product = seconds(lambda used=used: torch.from_numpy(query) @ used.T, arguments.rounds)
        rows.append((images, shots, len(draws[0]), len(used), whole, product))
    headers = ("gallery", "shots", "in a draw", "in any draw", "seconds", "product alone")
    print(tabulate(rows, headers=headers, tablefmt="pipe", floatfmt=".2f"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--strength", type=float, default=0.3, help="of identities in the features; 0 = chance"
    )
    main(parser.parse_args())
