"""The numbers of a numpy ``RandomState``, sampled in compiled loops, several times faster.

Reference mode samples the reference's numbers one for one, and that takes most of its time: numpy
makes the words of its Mersenne Twister [0] one by one. Here they are made 624 at a time, in loops
that the compiler vectorises. :func:`borrowed` lends the state of a ``RandomState`` to such a loop
and takes it back, so that all later numbers are those of numpy.

[0] Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 1998 (MT19937).
[1] Marsaglia and Bray, "A Convenient Method for Generating Normal Variables", SIAM Review 1964.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

_WORDS = 624
_MIDDLE = 397
_AT_ONCE = 8192  # uniforms, so that they stay in the cache; an even number
_UPPER = np.uint32(0x80000000)
_LOWER = np.uint32(0x7FFFFFFF)
_TWIST = np.uint32(0x9908B0DF)
_MASK_B = np.uint32(0x9D2C5680)
_MASK_C = np.uint32(0xEFC60000)
_1 = np.uint32(1)
_5 = np.uint32(5)
_6 = np.uint32(6)
_7 = np.uint32(7)
_11 = np.uint32(11)
_15 = np.uint32(15)
_18 = np.uint32(18)


class Stream(NamedTuple):
    """The borrowed state of a ``RandomState``.

    Attributes:
        key: (624,) uint32 words of the state.
        ready: (624,) uint32 random words that the state gives.
        position: (1,) int64 index of the next word in ``ready``; 624 when all are used.
        spare: (2,) float64, 1 or 0 for whether a normal is left over, and its value.
    """

    key: NDArray[np.uint32]
    ready: NDArray[np.uint32]
    position: NDArray[np.int64]
    spare: NDArray[np.float64]


@contextlib.contextmanager
def borrowed(rng: np.random.RandomState) -> Iterator[Stream]:
    """Lend the state of ``rng`` to compiled loops; it continues where they stop."""
    state = rng.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise ValueError(
            f"expected a RandomState on MT19937, got one on {state['bit_generator']}; "
            "the reference samples from np.random.RandomState(seed)"
        )
    key = state["state"]["key"].astype(np.uint32)
    ready = np.empty(_WORDS, np.uint32)
    _temper(key, ready)
    position = np.array([state["state"]["pos"]], np.int64)
    spare = np.array([state["has_gauss"], state["gauss"]], np.float64)
    yield Stream(key, ready, position, spare)
    state["state"] = {"key": key, "pos": int(position[0])}
    state["has_gauss"] = int(spare[0])
    state["gauss"] = float(spare[1])
    rng.set_state(state)


def uniforms(rng: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Compute ``rng.random_sample(shape)``: float64 in [0, 1)."""
    numbers = np.empty(shape)
    with borrowed(rng) as stream:
        fill_uniforms(stream, numbers.reshape(-1))
    return numbers


def normals(rng: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Compute ``rng.standard_normal(shape)``: float64."""
    numbers = np.empty(shape)
    with borrowed(rng) as stream:
        _fill_normals(stream, numbers.reshape(-1))
    return numbers


@numba.njit(cache=True, nogil=True)
def fill_uniforms(stream: Stream, numbers: NDArray[np.float64]) -> None:
    """Write the next uniforms of [0, 1), each of 53 bits of two words."""
    done = 0
    while done < numbers.size:
        start = stream.position[0]
        if start >= _WORDS - 1:
            numbers[done] = _uniform_across(stream)
            done += 1
            continue
        count = min((_WORDS - start) // 2, numbers.size - done)
        words = stream.ready[start : start + 2 * count]
        part = numbers[done : done + count]
        for index in range(count):
            part[index] = _of_words(words[2 * index], words[2 * index + 1])
        stream.position[0] = start + 2 * count
        done += count


@numba.njit(cache=True, nogil=True)
def skip_uniforms(stream: Stream, count: int) -> None:
    """Advance the state like :func:`fill_uniforms` without writing the uniforms."""
    position = stream.position[0] + 2 * count
    while position > _WORDS:
        _renew(stream.key)
        position -= _WORDS
    _temper(stream.key, stream.ready)
    stream.position[0] = position


@numba.njit(cache=True, nogil=True)
def _of_words(high: np.uint32, low: np.uint32) -> float:
    return ((high >> _5) * 67108864.0 + (low >> _6)) / 9007199254740992.0


@numba.njit(cache=True, nogil=True)
def _uniform_across(stream: Stream) -> float:
    """Compute the uniform whose words are not both ready."""
    high = stream.ready[_WORDS - 1]
    is_split = stream.position[0] == _WORDS - 1
    _renew(stream.key)
    _temper(stream.key, stream.ready)
    if is_split:
        stream.position[0] = 1
        return _of_words(high, stream.ready[0])
    stream.position[0] = 2
    return _of_words(stream.ready[0], stream.ready[1])


@numba.njit(cache=True, nogil=True)
def _fill_normals(stream: Stream, numbers: NDArray[np.float64]) -> None:
    """Sample by the polar method [1]: two normals at a time, the second of which comes first."""
    done = 0
    size = numbers.size
    if stream.spare[0] and size:
        numbers[0] = stream.spare[1]
        stream.spare[0] = stream.spare[1] = 0.0
        done = 1
    buffer = np.empty(_AT_ONCE)
    while done < size:
        # Each pair of normals takes at least one pair of uniforms, so none is sampled in vain.
        uniforms_now = buffer[: min(_AT_ONCE, 2 * ((size - done + 1) // 2))]
        fill_uniforms(stream, uniforms_now)
        done = _polar(uniforms_now, numbers, done, stream.spare)


@numba.njit(cache=True, nogil=True)
def _polar(
    sampled: NDArray[np.float64],
    numbers: NDArray[np.float64],
    done: int,
    spare: NDArray[np.float64],
) -> int:
    """Write the normals of these pairs of uniforms; return how many are written in all."""
    for pair in range(sampled.size // 2):
        x = 2.0 * sampled[2 * pair] - 1.0
        y = 2.0 * sampled[2 * pair + 1] - 1.0
        radius = x * x + y * y
        if radius >= 1.0 or radius == 0.0:
            continue
        factor = math.sqrt(-2.0 * math.log(radius) / radius)
        numbers[done] = factor * y
        if done + 1 == numbers.size:
            spare[0] = 1.0
            spare[1] = factor * x
            return numbers.size
        numbers[done + 1] = factor * x
        done += 2
    return done


@numba.njit(cache=True, nogil=True)
def _renew(key: NDArray[np.uint32]) -> None:
    """Compute the next state, in parts whose iterations are independent."""
    split = _WORDS - _MIDDLE
    for index in range(split):
        key[index] = key[index + _MIDDLE] ^ _twisted(key[index], key[index + 1])
    for index in range(split, _WORDS - 1):
        key[index] = key[index - split] ^ _twisted(key[index], key[index + 1])
    key[_WORDS - 1] = key[_MIDDLE - 1] ^ _twisted(key[_WORDS - 1], key[0])


@numba.njit(cache=True, nogil=True)
def _twisted(word: np.uint32, following: np.uint32) -> np.uint32:
    bits = (word & _UPPER) | (following & _LOWER)
    return (bits >> _1) ^ (_TWIST * (bits & _1))


@numba.njit(cache=True, nogil=True)
def _temper(key: NDArray[np.uint32], ready: NDArray[np.uint32]) -> None:
    for index in range(_WORDS):
        bits = key[index]
        bits ^= bits >> _11
        bits ^= (bits << _7) & _MASK_B
        bits ^= (bits << _15) & _MASK_C
        ready[index] = bits ^ (bits >> _18)
