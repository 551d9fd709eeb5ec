"""Measure whether generated images still show the person of the reference.

A judge, a Re-ID model of other persons, compares each image with the real images of all identities.
Letters: N images, R real images, D width of a feature, P identities.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]


@dataclasses.dataclass(frozen=True)
class Preservation:
    """Similarity of images to identities, averaged over images.

    Attributes:
        own: mean cosine similarity to the real images of the identity that is to be shown.
        nearest_other: mean cosine similarity to those of the most similar other identity.
        found: share of images, in [0, 1], that are nearer to their own than to all others.
        chance: value of ``found`` if images showed anyone.
    """

    own: float
    nearest_other: float
    found: float
    chance: float


def preservation(
    features: Floats, pids: Labels, real_features: Floats, real_pids: Labels, *, is_real: bool
) -> Preservation:
    """Compare images with the real images of all identities.

    Args:
        features: (N, D) features of the images.
        pids: (N,) identity that each image is to show.
        real_features: (R, D) features of the real images.
        real_pids: (R,) identities of the real images.
        is_real: whether the images are the real ones, in the same order: none is then compared
            with itself.

    Raises:
        ValueError: an identity has no real image to compare with.

    Example:
        >>> real = np.eye(2)
        >>> preservation(real, np.array([1, 2]), real, np.array([1, 2]), is_real=False)
        Preservation(own=1.0, nearest_other=0.0, found=1.0, chance=0.5)
    """
    known = np.unique(real_pids)
    similarity = _unit(features) @ _unit(real_features).T
    member = (real_pids[:, None] == known).astype(float)  # (R, P)
    sums = similarity @ member
    counts = np.tile(member.sum(axis=0), (len(pids), 1))
    own = np.searchsorted(known, pids)
    if not np.array_equal(known[np.minimum(own, len(known) - 1)], pids):
        raise ValueError("expected real images of every identity, got images of others too")
    rows = np.arange(len(pids))
    if is_real:
        sums[rows, own] -= similarity[rows, rows]
        counts[rows, own] -= 1
    if not counts.all():
        raise ValueError("expected two real images of every identity, got one; give more")
    means = sums / counts
    to_own = means[rows, own].copy()
    means[rows, own] = -np.inf
    others = means.max(axis=1)
    return Preservation(
        own=float(to_own.mean()),
        nearest_other=float(others.mean()),
        found=float((to_own > others).mean()),
        chance=1 / len(known),
    )


def _unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pids_of(names: Sequence[str]) -> Labels:
    """Read the identities from file names of Market-1501's form, such as ``0007_c1s1_...jpg``."""
    return np.array([int(name.rpartition("/")[2].partition("_")[0]) for name in names])
