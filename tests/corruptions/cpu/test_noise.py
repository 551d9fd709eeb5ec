"""Fast noise: its probabilities against numpy's variables, and its independence."""

import numpy as np
import pytest
from scipy import stats

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.cpu.noise import (
    GAUSSIAN_SCALES,
    IMPULSE_SHARES,
    PHOTONS_OF_WHITE,
    SPECKLE_SCALES,
)
from fastreid_ext.corruptions.cpu.noise_tables import LEVELS, hashed, transition_table, with_noise

NOISES = ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"]
SEVERITIES = [1, 2, 3, 4, 5]


def even(level, size=192):
    return np.full((size, size, 3), level, np.uint8)


def noisy(level, name, severity, seed=0):
    return corrupt(even(level), name, severity, np.random.default_rng(seed))


def by_definition(level, name, severity, seed=1):
    """The paper's formula in numpy, with random numbers of its own."""
    rng = np.random.default_rng(seed)
    value = even(level) / 255.0
    if name == "gaussian_noise":
        value = value + rng.normal(scale=GAUSSIAN_SCALES[severity - 1], size=value.shape)
    elif name == "speckle_noise":
        value = value + value * rng.normal(scale=SPECKLE_SCALES[severity - 1], size=value.shape)
    elif name == "shot_noise":
        photons = PHOTONS_OF_WHITE[severity - 1]
        value = rng.poisson(value * photons) / float(photons)
    else:
        uniform = rng.random(value.shape)
        share = IMPULSE_SHARES[severity - 1]
        value = np.where(uniform < share / 2, 0, np.where(uniform > 1 - share / 2, 1, value))
    return (np.clip(value, 0, 1) * 255).astype(np.uint8)


def have_one_distribution(first, second):
    """Chi-square of two samples of grey levels: levels that are rare in both are put together."""
    counts = np.stack([np.bincount(sample.ravel(), minlength=256) for sample in (first, second)])
    groups = np.searchsorted(np.arange(0, counts.sum(), 200), np.cumsum(counts.sum(axis=0)))
    counts = np.stack([np.bincount(groups, weights=row) for row in counts])
    counts = counts[:, counts.sum(axis=0) > 0]
    return counts.shape[1] == 1 or stats.chi2_contingency(counts).pvalue > 1e-4


@pytest.mark.parametrize("level", [0, 1, 40, 128, 250, 255])
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NOISES)
def test_a_level_becomes_the_others_as_often_as_by_definition(name, severity, level):
    assert have_one_distribution(noisy(level, name, severity), by_definition(level, name, severity))


def test_the_comparison_sees_a_small_difference():
    shifted = np.clip(by_definition(128, "gaussian_noise", 1).astype(int) + 1, 0, 255)
    assert not have_one_distribution(noisy(128, "gaussian_noise", 1), shifted)
    assert not have_one_distribution(
        noisy(255, "impulse_noise", 2), by_definition(255, "impulse_noise", 3)
    )


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_normal_noise_has_its_mean_and_deviation(severity):
    scale = 255 * GAUSSIAN_SCALES[severity - 1]
    noise = noisy(127, "gaussian_noise", severity).astype(float) + 0.5 - 127  # truncation: -0.5
    # What clipping at 0 and 255 does to a normal variable, in closed form.
    low, high = (0.5 - 127) / scale, (255 - 126.5) / scale
    clipped = stats.norm.expect(lambda z: np.clip(z, low, high) ** 2)
    assert noise.std() == pytest.approx(scale * np.sqrt(clipped), rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=4 * scale / np.sqrt(noise.size) + 0.1)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_speckle_grows_with_the_value(severity):
    scale = SPECKLE_SCALES[severity - 1]
    for level in (40, 80):
        noise = noisy(level, "speckle_noise", severity)
        inner = np.quantile(noise, [0.1587, 0.8413])  # one deviation; clipping does not move them
        assert np.diff(inner)[0] / 2 == pytest.approx(level * scale, abs=1, rel=0.03)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_photons_are_counted_around_their_mean(severity):
    photons = PHOTONS_OF_WHITE[severity - 1]
    level = 100
    grey = noisy(level, "shot_noise", severity).astype(float)
    counts = np.round(grey * photons / 255 + 0.49 * photons / 255)
    wanted = np.minimum(np.random.default_rng(0).poisson(level / 255 * photons, 10**6), photons)
    deviation = wanted.std() / np.sqrt(counts.size)
    assert counts.mean() == pytest.approx(wanted.mean(), abs=5 * deviation)
    assert counts.std() == pytest.approx(wanted.std(), rel=0.02)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulses_are_half_black_half_white(severity):
    image = noisy(100, "impulse_noise", severity)
    share = IMPULSE_SHARES[severity - 1]
    assert set(np.unique(image)) == {0, 100, 255}
    deviation = np.sqrt(share / 2 / image.size)
    assert (image == 0).mean() == pytest.approx(share / 2, abs=4 * deviation)
    assert (image == 255).mean() == pytest.approx(share / 2, abs=4 * deviation)


def test_values_are_independent_of_their_neighbours_channels_and_the_other_half():
    """Two values share a hash: those half an image apart."""
    noise = noisy(127, "gaussian_noise", 1).reshape(-1).astype(float)
    noise -= noise.mean()
    limit = 4.5 / np.sqrt(noise.size / 2)
    for distance in (1, 2, 3, 192 * 3, noise.size // 2):
        correlation = (noise[:-distance] * noise[distance:]).mean() / noise.var()
        assert abs(correlation) < limit, distance


def test_seeds_one_apart_are_independent():
    first = noisy(127, "gaussian_noise", 1, 0).astype(float)
    second = noisy(127, "gaussian_noise", 1, 1).astype(float)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4.5 / np.sqrt(first.size)


def test_a_table_holds_the_probabilities():
    """Each column gives 1/256 of its row, to the threshold to itself, the rest to its alias."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(LEVELS, 0.05), LEVELS)
    probabilities[7] = np.eye(LEVELS)[7]
    table = transition_table(probabilities).reshape(LEVELS, LEVELS)
    threshold = (table >> 8) / 2.0**24
    alias = table & 255
    found = threshold / LEVELS
    for old in range(LEVELS):
        np.add.at(found[old], alias[old], (1 - threshold[old]) / LEVELS)
    np.testing.assert_allclose(found, probabilities, atol=1e-6)
    assert with_noise(np.full((9, 5), 7, np.uint8), table.ravel(), rng).tolist() == [[7] * 5] * 9


def test_an_odd_number_of_values_is_replaced_to_the_last():
    table = transition_table(np.roll(np.eye(LEVELS), 3, axis=1))
    values = np.arange(255, dtype=np.uint8)
    np.testing.assert_array_equal(
        with_noise(values, table, np.random.default_rng(0)), (values + 3) & 255
    )


def test_says_which_probabilities_it_wanted():
    with pytest.raises(ValueError, match=r"expected probabilities \(256, 256\), got \(3, 256\)"):
        transition_table(np.ones((3, 256)))


def test_the_hash_is_splitmix64():
    """The first numbers of the authors' program for the seed 1234567."""
    found = [int(hashed(np.uint64(1234567), np.uint64(counter))) for counter in (1, 2, 3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]
