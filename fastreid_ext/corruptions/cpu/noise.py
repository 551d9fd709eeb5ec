"""The noises: every channel value changes by itself.

In fast mode all four are :mod:`.noise_tables` with the exact probabilities of the result. In
reference mode the random numbers are those of the reference's stream.

Letters: H height, W width. Values of the reference are in [0, 1], ours are grey levels.

[0] Hendrycks and Dietterich, ICLR 2019; parameters and order of samples are those of
    imagecorruptions 1.1.2.
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu.legacy_poisson import poisson_of_levels
from fastreid_ext.corruptions.cpu.mersenne import normals, uniforms
from fastreid_ext.corruptions.cpu.noise_tables import LEVELS, transition_table, with_noise

Image = NDArray[np.uint8]
RandomSource = np.random.RandomState | np.random.Generator

# Severity 1 to 5.
GAUSSIAN_SCALES = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation; white is 1
SPECKLE_SCALES = (0.15, 0.2, 0.35, 0.45, 0.6)  # standard deviation as a share of the value
PHOTONS_OF_WHITE = (60, 25, 12, 5, 3)  # mean count of a white value
IMPULSE_SHARES = (0.03, 0.06, 0.09, 0.17, 0.27)  # of the values; half becomes 0, half 255

_UNIT = np.arange(LEVELS) / 255.0  # the reference's float of each grey level


def gaussian_noise(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Add normal noise of one strength to every value."""
    if not reference:
        return with_noise(image, _table(_gaussian, severity), rng)
    scale = GAUSSIAN_SCALES[severity - 1]
    return _plus(image, normals(rng, image.shape), scale, _UNIT, False)


def speckle_noise(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Add normal noise in proportion to the value."""
    if not reference:
        return with_noise(image, _table(_speckle, severity), rng)
    scale = SPECKLE_SCALES[severity - 1]
    return _plus(image, normals(rng, image.shape), scale, _UNIT, True)


def shot_noise(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Replace every value by a Poisson count of photons with that mean."""
    if not reference:
        return with_noise(image, _table(_shot, severity), rng)
    photons = PHOTONS_OF_WHITE[severity - 1]
    counts = poisson_of_levels(rng, image, _UNIT * photons)
    return _levels_of_counts(photons, int(counts.max()))[counts]


def impulse_noise(image: Image, severity: int, rng: RandomSource, reference: bool) -> Image:
    """Turn a share of the values to black or white.

    The reference samples from a generator of scikit-image's own, which no seed reaches. Here, and
    in the repaired reference (:mod:`fastreid_ext.compat.imagecorruptions`), the numbers come from
    the stream of ``rng`` like all others: one uniform for each value, below the share if it
    changes, then another for each value, at most 0.5 if the change is to white.
    """
    if not reference:
        return with_noise(image, _table(_impulse, severity), rng)
    changes, whites = uniforms(rng, (2, *image.shape))
    return _salted(image, changes, whites, IMPULSE_SHARES[severity - 1])


@numba.njit(cache=True, nogil=True)
def _plus(
    image: NDArray[np.uint8],
    noise: NDArray[np.float64],
    scale: float,
    unit: NDArray[np.float64],
    is_share: bool,
) -> NDArray[np.uint8]:
    """Add scaled noise, times the value if a share; each step rounds as in the reference."""
    result = np.empty_like(image)
    values = image.reshape(-1)
    noises = noise.reshape(-1)
    results = result.reshape(-1)
    for index in range(values.size):
        value = unit[values[index]]
        added = scale * noises[index]
        if is_share:
            added *= value
        results[index] = np.uint8(min(max(value + added, 0.0), 1.0) * 255)
    return result


@numba.njit(cache=True, nogil=True)
def _salted(
    image: NDArray[np.uint8],
    changes: NDArray[np.float64],
    whites: NDArray[np.float64],
    share: float,
) -> NDArray[np.uint8]:
    result = np.empty_like(image)
    values = image.reshape(-1)
    results = result.reshape(-1)
    changed = changes.reshape(-1)
    white = whites.reshape(-1)
    for index in range(values.size):
        extreme = np.uint8(255) if white[index] <= 0.5 else np.uint8(0)
        results[index] = extreme if changed[index] <= share else values[index]
    return result


def _levels_of_counts(photons: int, largest: int) -> NDArray[np.uint8]:
    """Compute the grey level of each count of photons, truncated like the reference."""
    counts = np.arange(largest + 1)
    return np.uint8(np.clip(counts / float(photons), 0, 1) * 255)


@functools.cache
def _table(probabilities: Callable[[int], NDArray[np.float64]], severity: int) -> NDArray:
    return transition_table(probabilities(severity))


def _gaussian(severity: int) -> NDArray[np.float64]:
    return _truncated_normal(np.full(LEVELS, 255 * GAUSSIAN_SCALES[severity - 1]))


def _speckle(severity: int) -> NDArray[np.float64]:
    return _truncated_normal(np.arange(LEVELS) * SPECKLE_SCALES[severity - 1])


def _truncated_normal(deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the probabilities of each level after normal noise, clipping and truncation.

    Args:
        deviations: (256,) standard deviation in grey levels for each old level.
    """
    from scipy.special import ndtr

    old = np.arange(LEVELS)[:, None]
    new = np.arange(LEVELS - 1)[None]
    below = np.where(new + 1 > old, 1.0, 0.0)  # without any deviation
    spread = deviations > 0
    below[spread] = ndtr((new + 1 - old[spread]) / deviations[spread, None])
    return np.diff(below, axis=1, prepend=0.0, append=1.0)


def _shot(severity: int) -> NDArray[np.float64]:
    from scipy.special import pdtr

    photons = PHOTONS_OF_WHITE[severity - 1]
    below = pdtr(np.arange(photons)[None], _UNIT[:, None] * photons)
    of_counts = np.diff(below, axis=1, prepend=0.0, append=1.0)  # the last: `photons` or more
    result = np.zeros((LEVELS, LEVELS))
    result[:, _levels_of_counts(photons, photons)] = of_counts
    return result


def _impulse(severity: int) -> NDArray[np.float64]:
    share = IMPULSE_SHARES[severity - 1]
    result = np.eye(LEVELS) * (1 - share)
    result[:, [0, LEVELS - 1]] += share / 2
    return result
