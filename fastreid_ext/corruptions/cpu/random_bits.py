"""Random numbers in bulk for fast mode: a counter, hashed under a key of 64 bits.

Each number depends on its position and the key alone, so a loop over them is compiled to vector
instructions, which no generator with a running state allows. The hash is two rounds of a mix of 32
bits (xor-shift, multiply, xor-shift, multiply, xor-shift), whose constants were found by search for
the smallest bias over all 2^32 inputs [0].

[0] Wellons, "Prospecting for hash functions", 2018, https://nullprogram.com/blog/2018/07/31/
"""

import functools

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

_NORMAL_BITS = 16


@numba.njit(cache=True, nogil=True)
def _mix(word: np.uint32) -> np.uint32:
    # Each product is cut back to 32 bits: numba computes those of 32-bit integers in 64 bits.
    bits = np.uint32(word)
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))


@numba.njit(cache=True, nogil=True)
def _fill(low: np.uint32, high: np.uint32, words: NDArray[np.uint32]) -> None:
    for i in range(words.size):
        counter = np.uint32(i) * np.uint32(0x9E3779B9)
        words[i] = _mix(_mix(counter ^ low) + high)


@numba.njit(cache=True, nogil=True)
def _fill_uniforms(low: np.uint32, high: np.uint32, values: NDArray[np.float32]) -> None:
    for i in range(values.size):
        counter = np.uint32(i) * np.uint32(0x9E3779B9)
        word = _mix(_mix(counter ^ low) + high) >> np.uint32(8)
        values[i] = np.float32(np.int32(word)) * np.float32(2.0**-24)


@numba.njit(cache=True, nogil=True)
def _fill_from(
    words: NDArray[np.uint16],
    table: NDArray[np.float32],
    mean: np.float32,
    deviation: np.float32,
    values: NDArray[np.float32],
) -> None:
    for i in range(values.size):
        values[i] = mean + deviation * table[words[i]]


def random_words(rng: np.random.Generator, count: int) -> NDArray[np.uint32]:
    """Compute (count,) uniform words of 32 bits from one word of 64 bits of ``rng``."""
    words = np.empty(count, np.uint32)
    _fill(*_key(rng), words)
    return words


def random_uniforms(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Compute (count,) multiples of 2^-24, uniform in [0, 1)."""
    values = np.empty(count, np.float32)
    _fill_uniforms(*_key(rng), values)
    return values


def random_normals(
    rng: np.random.Generator, count: int, mean: float, deviation: float
) -> NDArray[np.float32]:
    """Compute (count,) normal numbers: one of 65,536 quantiles, so within 4.4 deviations."""
    words = random_words(rng, (count + 1) // 2).view(np.uint16)
    values = np.empty(count, np.float32)
    _fill_from(words, _normal_quantiles(), np.float32(mean), np.float32(deviation), values)
    return values


def _key(rng: np.random.Generator) -> tuple[np.uint32, np.uint32]:
    key = int(rng.integers(2**64, dtype=np.uint64))
    return np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)


@functools.cache
def _normal_quantiles() -> NDArray[np.float32]:
    count = 1 << _NORMAL_BITS
    return ndtri((np.arange(count) + 0.5) / count).astype(np.float32)
