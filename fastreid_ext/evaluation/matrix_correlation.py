"""Correlation of two matrices of similarities between the same things, with Mantel's test [0].

The N (N - 1) / 2 pairs are not independent, so the p value comes from permutations: the things of
one matrix are renamed at random, and the correlation is computed again.

[0] Mantel, "The detection of disease clustering and a generalized regression approach", Cancer
    Research 1967
"""

import dataclasses

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

_FEWEST = 4  # things: three have three pairs, whose order says nothing


@dataclasses.dataclass(frozen=True)
class MantelTest:
    """Rank correlation of two matrices of similarities.

    Attributes:
        correlation: Spearman's correlation in [-1, 1] over all pairs of two things.
        p_value: share in (0, 1] of the permutations, the identity among them, with a correlation
            at least as large: the test is one-sided.
        permutations: number of random permutations.
    """

    correlation: float
    p_value: float
    permutations: int

    def __str__(self) -> str:
        return (
            f"Spearman correlation {self.correlation:.3f}, p = {self.p_value:.2g} "
            f"(one-sided Mantel test, {self.permutations} permutations)"
        )


def mantel_test(
    one: NDArray[np.floating],
    other: NDArray[np.floating],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> MantelTest:
    """Correlate the off-diagonal entries of two symmetric matrices by their ranks.

    Args:
        one: (N, N) similarities of N things, at least 4.
        other: (N, N) similarities of the same things in the same order.
        permutations: number of random permutations; the smallest p value is 1 / (this + 1).
        seed: random seed of the permutations.

    Raises:
        ValueError: matrices of different or too small shapes, or one without any differences.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(6, 3))
        >>> mantel_test(rows @ rows.T, rows @ rows.T, permutations=99).correlation
        1.0
    """
    if one.ndim != 2 or one.shape != other.shape or len(one) != one.shape[1] or len(one) < _FEWEST:
        raise ValueError(
            f"expected two matrices (N, N) of at least {_FEWEST} things, got {one.shape} and "
            f"{other.shape}"
        )
    fixed = _centred_ranks(one)
    permuted = _centred_ranks(other)
    rng = np.random.default_rng(seed)
    found = _inner_product(fixed, permuted, np.arange(len(one)))
    orders = (rng.permutation(len(one)) for _ in range(permutations))
    # Equal sums may differ in their last bits: a renaming that changes nothing counts.
    limit = found - 1e-9
    larger = sum(_inner_product(fixed, permuted, order) >= limit for order in orders)
    return MantelTest(
        correlation=float(np.clip(found, -1, 1).round(12)),
        p_value=(larger + 1) / (permutations + 1),
        permutations=permutations,
    )


def _centred_ranks(similarities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Replace entries (N, N) by ranks of mean 0 and length 1 over the pairs; 0 on the diagonal."""
    ranks = rankdata(squareform(similarities, checks=False))
    ranks -= ranks.mean()
    length = np.linalg.norm(ranks)
    if not length > 0:  # NaN is not above 0 either
        raise ValueError("expected similarities that differ, got the same for all pairs")
    return squareform(ranks / length)


@numba.njit(cache=True)
def _inner_product(
    fixed: NDArray[np.float64], permuted: NDArray[np.float64], order: NDArray[np.int64]
) -> float:
    """Sum the products of the pairs of two matrices, the things of the second renamed."""
    total = 0.0
    for i in range(len(order)):
        row = permuted[order[i]]
        for j in range(i):
            total += fixed[i, j] * row[order[j]]
    return total
