"""Poisson variables of numpy's ``RandomState`` for 256 means, sampled several times faster.

``RandomState.poisson`` computes the constants of a mean for each of the 98,304 values of an image.
An image has 256 grey levels, so here they are computed once per level, and the uniforms come from
:mod:`.mersenne`: the variables are the same, and so is everything sampled later.

Means of 10 and more are sampled by transformed rejection [0], smaller ones by multiplying uniforms.

[0] Hörmann, "The transformed rejection method for generating Poisson random variables", Insurance:
    Mathematics and Economics 1993, algorithm PTRS.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.mersenne import Stream, borrowed, fill_uniforms, skip_uniforms

_REJECTION_FROM = 10.0  # mean from which PTRS takes over
_AT_ONCE = 16384  # uniforms, so that they stay in the cache; one variable takes far fewer


def poisson_of_levels(
    rng: np.random.RandomState, levels: NDArray[np.uint8], means: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Compute ``rng.poisson(means[levels])`` and leave ``rng`` as that call would.

    Args:
        rng: generator on MT19937, such as ``RandomState(seed)``.
        levels: C-contiguous array of grey levels, any shape.
        means: (256,) mean of each grey level, at least 0.
    """
    counts = np.empty(levels.shape, np.int64)
    with borrowed(rng) as stream:
        _sample(stream, levels.reshape(-1), means, _constants(means), counts.reshape(-1))
    return counts


def _constants(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute per mean (columns): exp(-mean); or a, b, log(1/alpha), v_r and log(mean) of [0]."""
    constants = np.zeros((means.size, 5))
    is_large = means >= _REJECTION_FROM
    constants[~is_large, 0] = np.exp(-means[~is_large])
    large = means[is_large]
    b = 0.931 + 2.53 * np.sqrt(large)
    constants[is_large, 0] = -0.059 + 0.02483 * b
    constants[is_large, 1] = b
    constants[is_large, 2] = np.log(1.1239 + 1.1328 / (b - 3.4))
    constants[is_large, 3] = 0.9277 - 3.6224 / (b - 2)
    constants[is_large, 4] = np.log(large)
    return constants


@numba.njit(cache=True, nogil=True)
def _sample(
    stream: Stream,
    levels: NDArray[np.uint8],
    means: NDArray[np.float64],
    constants: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Sample uniforms in parts; the final state is the one after the last uniform used."""
    uniforms = np.empty(_AT_ONCE)
    key = stream.key.copy()
    position = stream.position[0]
    done = held = used = 0
    while done < levels.size:
        key[:] = stream.key
        position = stream.position[0]
        fill_uniforms(stream, uniforms[held:])
        done, end = _sample_some(levels, means, constants, uniforms, counts, done)
        used = end - held
        held = uniforms.size - end
        for index in range(held):
            uniforms[index] = uniforms[end + index]
    stream.key[:] = key
    stream.position[0] = position
    skip_uniforms(stream, used)


@numba.njit(cache=True, nogil=True)
def _sample_some(
    levels: NDArray[np.uint8],
    means: NDArray[np.float64],
    constants: NDArray[np.float64],
    uniforms: NDArray[np.float64],
    counts: NDArray[np.int64],
    done: int,
) -> tuple[int, int]:
    """Sample until the uniforms run out; return how many variables are done and uniforms taken."""
    taken = 0
    while done < levels.size:
        level = levels[done]
        mean = means[level]
        row = constants[level]
        count = 0
        now = taken
        if mean >= _REJECTION_FROM:
            count, now = _by_rejection(mean, row, uniforms, taken)
        elif mean > 0:
            count, now = _by_product(row[0], uniforms, taken)
        if count < 0:
            break
        counts[done] = count
        done = done + 1
        taken = now
    return done, taken


@numba.njit(cache=True, nogil=True)
def _by_product(smallest: float, uniforms: NDArray[np.float64], taken: int) -> tuple[int, int]:
    count = -1
    product = 1.0
    while product > smallest:
        if taken == uniforms.size:
            return -1, taken
        product *= uniforms[taken]
        count = count + 1
        taken = taken + 1
    return count, taken


@numba.njit(cache=True, nogil=True)
def _by_rejection(
    mean: float, row: NDArray[np.float64], uniforms: NDArray[np.float64], taken: int
) -> tuple[int, int]:
    a = row[0]
    b = row[1]
    log_inverse_alpha = row[2]
    surely = row[3]
    log_mean = row[4]
    while taken + 2 <= uniforms.size:
        u = uniforms[taken] - 0.5
        v = uniforms[taken + 1]
        taken += 2
        us = 0.5 - abs(u)
        count = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= surely:
            return count, taken
        if count < 0 or (us < 0.013 and v > us):
            continue
        accepted = count * log_mean - mean - math.lgamma(count + 1)
        if math.log(v) + log_inverse_alpha - math.log(a / (us * us) + b) <= accepted:
            return count, taken
    return -1, taken
