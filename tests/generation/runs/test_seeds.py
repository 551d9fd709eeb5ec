import itertools

import pytest

from fastreid_ext.generation.runs.seeds import seed_of


def test_is_the_one_written_down():
    """A change would make other images of every set that is half made."""
    # printf '[0, "draw", "Market1501_0002", 7]' | sha256sum | cut -c1-16, halved
    assert seed_of(0, "draw", "Market1501_0002", 7) == 0x4970BEF719DC8FA6


def test_no_seed_counts_as_zero():
    assert seed_of(-1, "a") == seed_of(0, "a")


def test_tells_parts_apart():
    parts = [(), ("a",), ("ab",), ("a", "b"), ("b", "a"), ("a", 1), ("a", "1"), ("a1",), ("ä",)]
    seeds = {seed_of(run, *part) for run, part in itertools.product((0, 1), parts)}
    assert len(seeds) == 2 * len(parts)


def test_fills_63_bits_evenly():
    seeds = [seed_of(0, "draw", index) for index in range(4_000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    for bit in range(63):  # 2000 of 4000 within 5 standard deviations of 31.6
        assert abs(sum(seed >> bit & 1 for seed in seeds) - 2_000) < 160


def test_says_which_seed_it_wanted():
    with pytest.raises(ValueError, match=r"expected a run seed >= 0, or -1 for 0, got -2"):
        seed_of(-2, "a")
