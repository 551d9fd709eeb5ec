"""Plot of queries with their first gallery images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.evaluation.distances import Metric
from fastreid_ext.evaluation.features import TestFeatures
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.pictures.tiles import (
    FRAME,
    GAP,
    TILE,
    Pixels,
    blank,
    framed,
    joined,
    page,
    read_tile,
    text,
)

# RGB frames; green and vermilion of Okabe and Ito, distinguishable with any colour vision.
RIGHT = (0, 158, 115)
WRONG = (213, 94, 0)
QUERY = (90, 90, 90)

Choice = Literal["random", "worst", "best"]


def plot_rank_lists(
    test: TestFeatures,
    output: Path,
    *,
    queries: int = 8,
    top: int = 10,
    seed: int = 0,
    choice: Choice = "random",
    metric: Metric = "cosine",
    title: Sequence[str] = (),
) -> Path:
    """Plot queries with their first gallery images, right ones framed green, wrong ones orange.

    Images of the query's own identity and camera are left out, as in the evaluation.

    Args:
        test: features of a test set with labels and paths.
        output: path of the PNG file to write.
        queries: number of queries, one row each.
        top: number of gallery images per row.
        seed: random seed of the sampled queries.
        choice: rule for choosing queries. "random" samples from those with a valid match, one per
            identity if there are enough, for a fair impression; "worst" and "best" take those of
            the lowest or highest average precision.
        metric: distance that ranks the gallery, "cosine" or "euclidean".
        title: lines of text above the rows.

    Raises:
        ValueError: no query has a valid match, or an image cannot be read.
    """
    if choice == "random":
        rows = _sampled_queries(test, queries, seed)
    else:
        rows = _extreme_queries(test, queries, metric, worst=choice == "worst")
    lists = [_rank_list(test, row, top, metric) for row in rows]
    width = TILE[1] + 2 * FRAME
    names = [text("query", width), text("", GAP)]
    header = joined([*names, *(text(str(k), width) for k in range(1, top + 1))], axis=1)
    return save_pixels(page([header, *lists], title), output)


def _rank_list(test: TestFeatures, row: int, top: int, metric: Metric) -> Pixels:
    """Join one query, a gap, and its first ``top`` gallery images to a row."""
    query, gallery = test.split(test.features.numpy())
    query_paths, gallery_paths = test.split(test.paths)
    query_pids, gallery_pids, query_camids, gallery_camids = test.labels()
    likeness = _cosine if metric == "cosine" else _nearness
    similarity = likeness(query[row], gallery)
    is_same_pid = gallery_pids == query_pids[row]
    similarity[is_same_pid & (gallery_camids == query_camids[row])] = -np.inf
    height, width = (side + 2 * FRAME for side in TILE)
    tiles = [framed(read_tile(query_paths[row]), QUERY), blank(height, GAP)]
    for index in np.argsort(-similarity, kind="stable")[:top]:
        if np.isfinite(similarity[index]):
            colour = RIGHT if is_same_pid[index] else WRONG
            tiles.append(framed(read_tile(gallery_paths[index]), colour))
    missing = 2 + top - len(tiles)  # of a small gallery
    return joined([*tiles, *[blank(height, width)] * missing], axis=1)


def _sampled_queries(test: TestFeatures, count: int, seed: int) -> NDArray[np.int64]:
    query_pids, gallery_pids, query_camids, gallery_camids = test.labels()
    rng = np.random.default_rng(seed)
    order = [
        row
        for row in rng.permutation(len(query_pids))
        if np.any((gallery_pids == query_pids[row]) & (gallery_camids != query_camids[row]))
    ]
    if not order:
        raise ValueError(
            "no query identity appears in the gallery under another camera, so there is nothing to "
            "plot; check the identity and camera labels of query and gallery"
        )
    _, first_of_pid = np.unique(query_pids[order], return_index=True)
    one_each = sorted(first_of_pid)  # in the sampled order
    others = sorted(set(range(len(order))).difference(one_each))
    return np.array([order[i] for i in [*one_each, *others][:count]], dtype=np.int64)


def _extreme_queries(
    test: TestFeatures, count: int, metric: Metric, *, worst: bool
) -> NDArray[np.int64]:
    precision = test.metrics(metric).average_precision
    valid = np.flatnonzero(~np.isnan(precision))
    order = np.argsort(precision[valid] if worst else -precision[valid], kind="stable")
    return valid[order[:count]]


def _cosine(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return gallery @ query / np.maximum(norms, 1e-12)


def _nearness(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    return -np.linalg.norm(gallery - query, axis=1)
