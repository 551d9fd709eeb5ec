"""Baselines that need no training: a colour histogram, and chance.

Letters: N images, Q queries, G gallery images.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastreid_ext.evaluation.ranking import AP_RULES, RankMetrics, rank_metrics

STRIPES = 6  # head to feet
HSV_BINS = (8, 4, 4)


def colour_histograms(paths: Sequence[str]) -> NDArray[np.float32]:
    """Compute the HSV histograms of six horizontal stripes of each image.

    Columns are weighted by a Gaussian around the image centre, where the body is. The square root
    of the normalised histogram makes the cosine of two features their Bhattacharyya coefficient.

    Example::

        cosines = colour_histograms(["a.jpg", "b.jpg"]) @ colour_histograms(["c.jpg"]).T  # (2, 1)

    Args:
        paths: paths of N image files of any size.

    Returns:
        (N, 768) non-negative, each row of unit length.

    Raises:
        ValueError: a file is not a readable image.
    """
    return np.stack([_histogram(path) for path in paths])


def _histogram(path: str) -> NDArray[np.float32]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f"expected an image, got {path}, which cannot be decoded; restore the file"
        )
    image = cv2.resize(image, (64, 128), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    weights = np.tile(np.exp(-0.5 * ((np.arange(64) - 31.5) / 12) ** 2), (128, 1))
    stripes = [
        np.histogramdd(
            stripe.reshape(-1, 3),
            bins=HSV_BINS,
            range=((0, 180), (0, 256), (0, 256)),
            weights=weight.ravel(),
        )[0].ravel()
        for stripe, weight in zip(
            np.array_split(hsv, STRIPES), np.array_split(weights, STRIPES), strict=True
        )
    ]
    histogram = np.concatenate(stripes)
    return np.sqrt(histogram / histogram.sum()).astype(np.float32)


def chance(
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    repeats: int = 10,
) -> RankMetrics:
    """Compute the metrics of random rankings, averaged over ``repeats`` fixed seeds."""
    runs = [
        rank_metrics(
            np.random.default_rng(seed).normal(size=(len(np.asarray(query_pids)), 64)),
            np.random.default_rng(10_000 + seed).normal(size=(len(np.asarray(gallery_pids)), 64)),
            query_pids,
            gallery_pids,
            query_camids,
            gallery_camids,
        )
        for seed in range(repeats)
    ]
    return RankMetrics(
        cmc=np.mean([run.cmc for run in runs], axis=0),
        mAP=float(np.mean([run.mAP for run in runs])),
        mINP=float(np.mean([run.mINP for run in runs])),
        average_precision=np.mean([run.average_precision for run in runs], axis=0),
        num_valid=runs[0].num_valid,
        ap_rule="fastreid",
        mAP_by_rule={
            rule: float(np.mean([run.mAP_by_rule[rule] for run in runs])) for rule in AP_RULES
        },
    )
