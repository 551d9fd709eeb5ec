"""Random corruptions: counts, records, replay."""

from collections import Counter

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import COMMON_CORRUPTIONS, corrupt
from fastreid_ext.corruptions.record import (
    Corruption,
    RandomCorruption,
    parse_record,
    record,
    replay,
)

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise")


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (40, 32, 3), dtype=np.uint8)


def test_is_written_as_name_severity_seed_and_read_again():
    sampled = Corruption("fog", 3, 81723)
    assert str(sampled) == "fog:3:81723"
    assert Corruption.parse("fog:3:81723") == sampled
    chain = (sampled, Corruption("snow", 1, 0))
    assert record(chain) == "fog:3:81723+snow:1:0"
    assert parse_record(record(chain)) == chain
    assert record(()) == ""
    assert parse_record("") == ()


@pytest.mark.parametrize("text", ["fog", "fog:3", "fog:x:1", "fog:3:-1", "fog:3:1:1", "fog:3:1|a"])
def test_what_is_no_record_is_named(text):
    with pytest.raises(ValueError, match=r"expected a corruption as name:severity:seed.* got 'fog"):
        replay(picture(), text)


def test_applies_the_corruption_of_the_seed():
    image = picture()
    for reference, rng in ((False, np.random.default_rng(5)), (True, np.random.RandomState(5))):
        expected = corrupt(image, "gaussian_noise", 2, rng, reference=reference)
        made = Corruption("gaussian_noise", 2, 5).apply(image, reference=reference)
        assert np.array_equal(made, expected)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_replay_of_a_record_gives_the_same_pixels(reference, count):
    transform = RandomCorruption(names=NOISES, count=count, reference=reference)
    rng = np.random.default_rng(0)
    for seed in range(4):
        image = picture(seed)
        before = image.copy()
        corrupted, text = transform(image, rng)
        assert len(parse_record(text)) == count
        assert not np.array_equal(corrupted, image)
        assert np.array_equal(replay(image, text, reference=reference), corrupted)
        assert np.array_equal(image, before)


@pytest.mark.parametrize("name", COMMON_CORRUPTIONS)
def test_every_common_corruption_is_replayed(name):
    transform = RandomCorruption(names=[name], severities=[2])
    corrupted, text = transform(picture(), np.random.default_rng(1))
    assert np.array_equal(replay(picture(), text), corrupted)


def test_replay_of_nothing_is_a_copy():
    image = picture()
    same = replay(image, "")
    assert np.array_equal(same, image)
    assert same is not image


def test_kinds_severities_and_probability_are_sampled_as_asked():
    transform = RandomCorruption(names=NOISES, severities=(2, 5), probability=0.75, count=2)
    rng = np.random.default_rng(0)
    chains = [transform.sample(rng) for _ in range(8000)]
    lengths = Counter(map(len, chains))
    assert 5850 < lengths[2] < 6150  # 6000, deviation 39
    assert lengths[0] + lengths[2] == 8000
    sampled = [corruption for chain in chains for corruption in chain]
    kinds = Counter(corruption.name for corruption in sampled)
    assert all(3850 < kinds[name] < 4150 for name in NOISES)
    severities = Counter(corruption.severity for corruption in sampled)
    assert set(severities) == {2, 5}
    assert abs(severities[2] - severities[5]) < 500
    pairs = Counter(tuple(c.name for c in chain) for chain in chains if chain)
    assert len(pairs) == 6  # all orders of two different kinds
    assert all(850 < count < 1150 for count in pairs.values())
    assert len({corruption.seed for corruption in sampled}) > 0.99 * len(sampled)


def test_equal_seeds_sample_equal_chains():
    transform = RandomCorruption(names=NOISES)
    first = transform.sample(np.random.default_rng(3))
    again = transform.sample(np.random.default_rng(3))
    other = transform.sample(np.random.default_rng(4))
    assert first == again != other


def test_a_chain_longer_than_the_names_is_refused():
    with pytest.raises(ValueError, match=r"from 1 to the 3 names, got 4; lower INPUT.CORR"):
        RandomCorruption(names=NOISES, count=4)
