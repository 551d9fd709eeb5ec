"""Poisson variables as numpy's ``RandomState`` draws them, of 256 means, several times faster.

``RandomState.poisson`` works out every mean anew for each of the 98,304 values of an image. An
image has 256 grey levels, so here the constants are made once per level, and the loop takes its
uniforms from the state of the Mersenne Twister, which is handed back afterwards: the variables are
the same, and so is everything drawn later.

Means of 10 and more are drawn by transformed rejection [0], smaller ones by multiplying uniforms.

[0] Hörmann, "The transformed rejection method for generating Poisson random variables", Insurance:
    Mathematics and Economics 1993, algorithm PTRS.
[1] Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 1998 (MT19937).
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

_WORDS = 624  # of the state; the next one to read is kept behind them
_MIDDLE = 397
_UPPER, _LOWER = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_TWIST = np.uint32(0x9908B0DF)
_MASK_B, _MASK_C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
_0, _1, _5, _6, _7, _11, _15, _18 = (np.uint32(bits) for bits in (0, 1, 5, 6, 7, 11, 15, 18))
_REJECTION_FROM = 10.0  # mean from which PTRS takes over


def poisson_of_levels(
    rng: np.random.RandomState, levels: NDArray[np.uint8], means: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return ``rng.poisson(means[levels])`` and leave ``rng`` as that call would.

    Args:
        rng: on MT19937, as ``RandomState(seed)`` is.
        levels: C-contiguous, any shape.
        means: (256,) mean of each level, at least 0.
    """
    state = rng.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise ValueError(
            f"expected a RandomState on MT19937, got one on {state['bit_generator']}; "
            "the reference draws from np.random.RandomState(seed)"
        )
    words = np.append(state["state"]["key"], np.uint32(state["state"]["pos"]))
    counts = np.empty(levels.shape, np.int64)
    _draw(levels.reshape(-1), means, _constants(means), words, counts.reshape(-1))
    state["state"] = {"key": words[:_WORDS], "pos": int(words[_WORDS])}
    rng.set_state(state)
    return counts


def _constants(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return per mean (columns): exp(-mean); or a, b, log(1/alpha), v_r and log(mean) of [0]."""
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
def _draw(
    levels: NDArray[np.uint8],
    means: NDArray[np.float64],
    constants: NDArray[np.float64],
    words: NDArray[np.uint32],
    counts: NDArray[np.int64],
) -> None:
    for index in range(levels.size):
        mean, row = means[levels[index]], constants[levels[index]]
        if mean >= _REJECTION_FROM:
            counts[index] = _by_rejection(mean, row, words)
        elif mean > 0:
            counts[index] = _by_product(row[0], words)
        else:
            counts[index] = 0


@numba.njit(cache=True, nogil=True)
def _by_product(smallest: float, words: NDArray[np.uint32]) -> int:
    count, product = 0, _uniform(words)
    while product > smallest:
        product *= _uniform(words)
        count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _by_rejection(mean: float, row: NDArray[np.float64], words: NDArray[np.uint32]) -> int:
    a, b, log_inverse_alpha, surely, log_mean = row[0], row[1], row[2], row[3], row[4]
    while True:
        u = _uniform(words) - 0.5
        v = _uniform(words)
        us = 0.5 - abs(u)
        count = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= surely:
            return count
        if count < 0 or (us < 0.013 and v > us):
            continue
        accepted = count * log_mean - mean - math.lgamma(count + 1)
        if math.log(v) + log_inverse_alpha - math.log(a / (us * us) + b) <= accepted:
            return count


@numba.njit(cache=True, nogil=True)
def _uniform(words: NDArray[np.uint32]) -> float:
    """Return the next uniform of [0, 1): 53 bits of two words."""
    high, low = _word(words) >> _5, _word(words) >> _6
    return (high * 67108864.0 + low) / 9007199254740992.0


@numba.njit(cache=True, nogil=True)
def _word(words: NDArray[np.uint32]) -> np.uint32:
    position = words[_WORDS]
    if position >= _WORDS:
        _renew(words)
        position = _0
    words[_WORDS] = position + _1
    bits = words[position]
    bits ^= bits >> _11
    bits ^= (bits << _7) & _MASK_B
    bits ^= (bits << _15) & _MASK_C
    return bits ^ (bits >> _18)


@numba.njit(cache=True, nogil=True)
def _renew(words: NDArray[np.uint32]) -> None:
    """Make the next 624 words of the state; see [1]."""
    for index in range(_WORDS):
        following = index + 1 if index + 1 < _WORDS else 0
        middle = index + _MIDDLE if index + _MIDDLE < _WORDS else index + _MIDDLE - _WORDS
        bits = (words[index] & _UPPER) | (words[following] & _LOWER)
        twist = _TWIST if bits & _1 else _0
        words[index] = words[middle] ^ (bits >> _1) ^ twist
