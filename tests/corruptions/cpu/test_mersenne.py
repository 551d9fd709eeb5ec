"""Numbers of a RandomState against numpy's own, from any place in its state."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.legacy_poisson import poisson_of_levels
from fastreid_ext.corruptions.cpu.mersenne import normals, uniforms

# How many 32-bit words were taken before: the start, an odd place, the last word, and the end of
# a state, whose 624 words are computed again at the first sample.
PLACES = [0, 1, 2, 311, 621, 622, 623, 624, 625, 1247, 5000]
SHAPES = [(1,), (2,), (3,), (311,), (312,), (313,), (1001,), (7, 5, 3), (20_001,)]


def pair(place, seed=0):
    numpys = np.random.RandomState(seed)
    ours = np.random.RandomState(seed)
    for rng in (numpys, ours):
        rng.randint(0, 2**32, size=place, dtype=np.uint32)
    return numpys, ours


def stands_alike(numpys, ours):
    for key, value in numpys.get_state(legacy=False).items():
        other = ours.get_state(legacy=False)[key]
        if key == "state":
            np.testing.assert_array_equal(value["key"], other["key"])
            assert value["pos"] == other["pos"]
        else:
            assert value == other, key


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uniforms(place, shape):
    numpys, ours = pair(place)
    np.testing.assert_array_equal(uniforms(ours, shape), numpys.random_sample(shape))
    stands_alike(numpys, ours)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normals(place, shape):
    numpys, ours = pair(place)
    for _ in range(2):  # the second time half a pair may be left over
        np.testing.assert_array_equal(normals(ours, shape), numpys.standard_normal(shape))
        stands_alike(numpys, ours)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("largest", [0, 0.5, 3, 9.99, 12, 60, 1000])
def test_poisson(place, largest):
    levels = np.random.default_rng(1).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    means = np.arange(256) / 255.0 * largest
    numpys, ours = pair(place)
    np.testing.assert_array_equal(
        poisson_of_levels(ours, levels, means), numpys.poisson(means[levels])
    )
    stands_alike(numpys, ours)


def test_nothing_is_sampled_for_nothing():
    numpys, ours = pair(3)
    assert uniforms(ours, (0, 4)).shape == (0, 4)
    assert normals(ours, (0,)).shape == (0,)
    assert not poisson_of_levels(ours, np.zeros((50, 50), np.uint8), np.zeros(256)).any()
    stands_alike(numpys, ours)


def test_says_which_bit_generator_it_wanted():
    with pytest.raises(ValueError, match="expected a RandomState on MT19937, got one on PCG64"):
        uniforms(np.random.RandomState(np.random.PCG64(0)), (3,))


def test_an_error_in_between_leaves_the_state():
    from fastreid_ext.corruptions.cpu.mersenne import borrowed

    numpys, ours = pair(3)
    with pytest.raises(KeyError), borrowed(ours):
        raise KeyError
    stands_alike(numpys, ours)
