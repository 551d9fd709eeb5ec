"""Noise that changes each channel value by itself, sampled from the exact distribution.

The four noises of ImageNet-C give every value of an image a new grey level whose probabilities
depend on the old one alone: a matrix of 256 x 256 transition probabilities. Walker's alias method
samples from a row with one random number and one look into a table, whatever the distribution: no
normal, no Poisson variable, no rounding. The probabilities are kept to 2^-32.

Random numbers are SplitMix64: the hash of a counter, so that nothing has to be carried from one to
the next. A 64-bit number of the caller's generator starts it, and serves two values per hash.

[0] Walker, "An Efficient Method for Generating Discrete Random Variables with General
    Distributions", ACM TOMS 1977; the tables after Vose, IEEE TSE 1991.
[1] Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

import numba
import numpy as np
from numpy.typing import NDArray

LEVELS = 256

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_27 = np.uint64(27)
_30 = np.uint64(30)
_31 = np.uint64(31)
_32 = np.uint64(32)
_8 = np.uint32(8)
_24 = np.uint32(24)
_LOW_24 = np.uint32(0xFFFFFF)


@numba.njit(cache=True, nogil=True)
def hashed(start: np.uint64, counter: np.uint64) -> np.uint64:
    """Compute the random number of a counter, 64 bits; see [1]."""
    bits = start + counter * _STEP
    bits = (bits ^ (bits >> _30)) * _FIRST
    bits = (bits ^ (bits >> _27)) * _SECOND
    return bits ^ (bits >> _31)


def random_start(rng: np.random.Generator) -> np.uint64:
    """Sample the start of :func:`hashed`: one 64-bit number."""
    return rng.integers(0, 2**64, dtype=np.uint64)


def transition_table(probabilities: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Build the alias table of :func:`with_noise`.

    Args:
        probabilities: (256, 256) probability of each new level (column) for each old one (row); a
            row adds up to 1.

    Returns:
        (65536,) uint32, 256 columns for each old level: threshold (24 bits) and alias (8 bits).
    """
    if probabilities.shape != (LEVELS, LEVELS):
        raise ValueError(
            f"expected probabilities (256, 256), got {probabilities.shape}; give a row "
            "for each old grey level"
        )
    return _alias_table(np.ascontiguousarray(probabilities, dtype=np.float64))


@numba.njit(cache=True, nogil=True)
def _alias_table(probabilities: NDArray[np.float64]) -> NDArray[np.uint32]:
    table = np.empty(LEVELS * LEVELS, np.uint32)
    poor = np.empty(LEVELS, np.int64)
    rich = np.empty(LEVELS, np.int64)
    for old in range(LEVELS):
        share = probabilities[old] * LEVELS  # of a column's 1
        row = table[old * LEVELS : (old + 1) * LEVELS]
        poors = riches = 0
        for new in range(LEVELS):
            row[new] = (_LOW_24 << _8) | np.uint32(new)  # kept where the column is full
            if share[new] < 1:
                poor[poors] = new
                poors += 1
            else:
                rich[riches] = new
                riches += 1
        while poors and riches:
            poors -= 1
            giver = rich[riches - 1]
            taker = poor[poors]
            row[taker] = (np.uint32(share[taker] * 2**24) << _8) | np.uint32(giver)
            share[giver] -= 1 - share[taker]
            if share[giver] < 1:
                riches -= 1
                poor[poors] = giver
                poors += 1
    return table


def with_noise(
    image: NDArray[np.uint8], table: NDArray[np.uint32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Sample a new value for each value of an image from its row of ``table``.

    Args:
        image: C-contiguous uint8 array of any shape; not written to.
        table: alias table made by :func:`transition_table`.
        rng: generator of which one 64-bit number is used.
    """
    result = np.empty_like(image)
    _sample(image.reshape(-1), table, random_start(rng), result.reshape(-1))
    return result


@numba.njit(cache=True, nogil=True)
def _new_level(old: np.uint8, bits: np.uint32, table: NDArray[np.uint32]) -> np.uint8:
    column = bits >> _24
    entry = table[np.uint64((np.uint32(old) << _8) | column)]
    return np.uint8(column if (bits & _LOW_24) < (entry >> _8) else entry)


@numba.njit(cache=True, nogil=True)
def _sample(
    values: NDArray[np.uint8],
    table: NDArray[np.uint32],
    start: np.uint64,
    result: NDArray[np.uint8],
) -> None:
    half = values.size // 2
    for index in range(half):
        bits = hashed(start, np.uint64(index))
        result[index] = _new_level(values[index], np.uint32(bits), table)
        other = half + index
        result[other] = _new_level(values[other], np.uint32(bits >> _32), table)
    if values.size % 2:
        bits = hashed(start, np.uint64(half))
        result[-1] = _new_level(values[-1], np.uint32(bits), table)
