"""The hashed counter: uniform, normal, independent of position and key, repeatable."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.random_bits import random_normals, random_uniforms, random_words

COUNT = 1 << 20


def test_equal_seeds_repeat_and_each_call_differs():
    rng = np.random.default_rng(3)
    first = random_words(rng, 1000)
    second = random_words(rng, 1000)
    np.testing.assert_array_equal(first, random_words(np.random.default_rng(3), 1000))
    assert (first == second).sum() <= 1


def test_more_numbers_begin_like_fewer():
    short = random_words(np.random.default_rng(0), 100)
    long = random_words(np.random.default_rng(0), 5000)
    np.testing.assert_array_equal(short, long[:100])


def test_one_word_of_the_generator_is_used():
    ours = np.random.default_rng(0)
    plain = np.random.default_rng(0)
    random_words(ours, 5000)
    plain.integers(2**64, dtype=np.uint64)
    assert ours.integers(2**63) == plain.integers(2**63)


def test_every_bit_is_set_half_of_the_time():
    words = random_words(np.random.default_rng(1), COUNT)
    shares = [((words >> np.uint32(bit)) & 1).mean() for bit in range(32)]
    assert np.abs(np.array(shares) - 0.5).max() < 5 * 0.5 / COUNT**0.5


def test_pairs_of_bytes_are_uniform():
    """Of neighbours, of numbers 128 apart (a row of an image), and of two keys in a row."""
    rng = np.random.default_rng(2)
    words = random_words(rng, COUNT)
    others = random_words(rng, COUNT)
    for first, second in ((words[:-1], words[1:]), (words[:-128], words[128:]), (words, others)):
        pairs = (first >> np.uint32(24) << np.uint32(8)) | (second & np.uint32(255))
        counts = np.bincount(pairs, minlength=65536)
        expected = first.size / 65536
        chi_squared = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi_squared - 65535) < 5 * (2 * 65535) ** 0.5


def test_uniforms():
    values = random_uniforms(np.random.default_rng(4), COUNT)
    assert values.dtype == np.float32
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=5 * 12**-0.5 / COUNT**0.5)
    assert values.var() == pytest.approx(1 / 12, rel=0.01)
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5 / COUNT**0.5


def test_normals():
    values = random_normals(np.random.default_rng(5), COUNT, 2.0, 3.0)
    assert values.mean() == pytest.approx(2, abs=5 * 3 / COUNT**0.5)
    assert values.std() == pytest.approx(3, rel=0.005)
    scaled = (values - 2) / 3
    assert (scaled**3).mean() == pytest.approx(0, abs=0.02)
    assert (scaled**4).mean() == pytest.approx(3, abs=0.05)
    for bound, share in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert (np.abs(scaled) < bound).mean() == pytest.approx(share, abs=0.002)
    assert np.abs(scaled).max() < 4.4
    assert random_normals(np.random.default_rng(5), 7, 0.0, 1.0).shape == (7,)
