import itertools
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid_ext.data.hash_shuffle import hash_shuffle
from fastreid_ext.data.item_arrays import ItemArrays, TextArray
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.own_sets import SubsetSetting, parse_subset
from fastreid_ext.data.subsets import sample_subset


def items_of(counts):
    """Build ``counts[i]`` items of identity i, in random order."""
    items = [
        (f"/data/set/{identity:04d}_{image}.jpg", f"set_{identity}", "set_0")
        for identity, count in enumerate(counts)
        for image in range(count)
    ]
    return [items[i] for i in np.random.default_rng(0).permutation(len(items))]


def names_of(setting, name, items, base="/data"):
    """List the names of the items that a setting keeps, sorted."""
    named = named_items(items, Path(base))
    return [named.names[place] for place in sample_subset(setting, name, named)]


def sampled_names(text, counts, name="Set"):
    return names_of(parse_subset(text), name, items_of(counts))


def per_identity(names):
    return Counter(int(os.path.basename(name)[:4]) for name in names)


# Counts, from the rule in words: at least one image, nearest number, halves to the even one.
@pytest.mark.parametrize(
    ("percent", "images", "kept"),
    [(10, 1, 1), (10, 2, 1), (10, 14, 1), (10, 15, 2), (10, 16, 2), (10, 25, 2), (10, 26, 3),
     (30, 10, 3), (50, 1, 1), (50, 3, 2), (50, 5, 2), (70, 15, 10), (90, 72, 65), (100, 7, 7),
     (1, 72, 1)],
)  # fmt: skip
def test_few_shot_keeps_a_share_of_each_identity(percent, images, kept):
    names = sampled_names(f"few_shot_{percent}", [images, 40])
    assert per_identity(names)[0] == kept
    # LUPerson's formula, in floating point.
    assert kept == int(max(np.round(images * (percent / 100)), 1))


@pytest.mark.parametrize(
    ("percent", "identities", "kept"),
    [(10, 751, 75), (70, 700, 490), (1, 3, 1), (50, 5, 2), (100, 5, 5)],
)
def test_small_scale_keeps_complete_identities(percent, identities, kept):
    names = sampled_names(f"small_scale_{percent}", [3] * identities)
    assert len(per_identity(names)) == kept
    assert set(per_identity(names).values()) == {3}


@pytest.mark.parametrize("kind", ["few_shot", "small_scale"])
def test_subsets_are_nested(kind):
    counts = [1, 2, 3, 9, 20, 31, 72] * 5
    subsets = [set(sampled_names(f"{kind}_{percent}", counts)) for percent in range(1, 101)]
    assert all(small <= large for small, large in itertools.pairwise(subsets))
    assert len(subsets[-1]) == sum(counts)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(1, 8), min_size=2, max_size=8),
    percent=st.integers(1, 100),
    kind=st.sampled_from(["few_shot", "small_scale"]),
    order=st.randoms(use_true_random=False),
)
def test_subset_depends_on_names_only(counts, percent, kind, order):
    setting = SubsetSetting(kind, percent)
    items = items_of(counts)
    expected = names_of(setting, "Set", items)
    order.shuffle(items)
    elsewhere = [(path.replace("/data", "/mnt/x y"), pid, camid) for path, pid, camid in items]
    assert names_of(setting, "Set", elsewhere, "/mnt/x y") == expected
    # fastreid renumbers the identities of CUHK03.
    renumbered = [(path, f"set_{99 - int(pid[4:])}", camid) for path, pid, camid in items]
    assert names_of(setting, "Set", renumbered) == expected


def names_by_dicts(setting, name, items):
    """Choose the items of a setting by the documented rules, with plain Python objects."""
    named = {path.removeprefix("/data/"): (path, pid, camid) for path, pid, camid in items}
    identities = {}
    for own in sorted(named):
        identities.setdefault(named[own][1], []).append(own)
    key = (setting.seed, setting.kind, name)
    if setting.kind == "few_shot":
        return sorted(
            chosen
            for own in identities.values()
            for chosen in hash_shuffle(own, *key)[
                : max(1, round(Fraction(len(own) * setting.percent, 100)))
            ]
        )
    first_images = {min(own): own for own in identities.values()}
    count = max(1, len(identities) * setting.percent // 100)
    order = hash_shuffle(first_images, *key)[:count]
    return sorted(chosen for first in order for chosen in first_images[first])


@pytest.mark.parametrize("kind", ["few_shot", "small_scale"])
@pytest.mark.parametrize("percent", [1, 10, 33, 50, 99, 100])
def test_subset_equals_a_choice_with_dicts(kind, percent):
    counts = np.random.default_rng(1).integers(1, 40, 60)
    items = items_of(counts)
    items += [("/elsewhere/b.jpg", "set_3", "set_0"), ("/data/set/../a.jpg", "set_4", "set_1")]
    plain = [(os.path.abspath(path), pid, camid) for path, pid, camid in items]
    plain.append(plain[7])  # comes twice
    setting = SubsetSetting(kind, percent, seed=2)
    assert names_of(setting, "Set", [*items, items[7]]) == names_by_dicts(setting, "Set", plain)


def test_named_items_are_a_mapping_that_keeps_the_last_of_equal_paths():
    items = [("/data/b.jpg", "s_2", "s_0"), ("/else/a.jpg", "s_1", "s_0")]
    items += [("/data/x/../b.jpg", "s_3", "s_1"), ("/data/a.jpg", "s_1", "s_1")]
    named = named_items(items, Path("/data"))
    assert dict(named.items()) == {
        "/else/a.jpg": items[1], "a.jpg": items[3], "b.jpg": items[2]
    }  # fmt: skip
    assert named["b.jpg"] == items[2]
    assert list(named.values()) == [items[1], items[3], items[2]]
    assert ("b.jpg" in named, "c.jpg" in named, len(named)) == (True, False, 3)
    for wanted in (["", "a.jpg", "b.jpg", "zz"], ["zz", "b.jpg", "", "a.jpg", "b.jpg"]):
        found = [list(named).index(name) if name in named else -1 for name in wanted]
        assert list(named.places(wanted)) == found


def test_named_items_of_sorted_paths_are_not_copied():
    items = ItemArrays.of([(f"/data/{n}.jpg", f"s_{n}", "s_0") for n in range(5)])
    named = named_items(items, Path("/data"))
    assert named.arrays is items
    assert list(named.names) == [f"{n}.jpg" for n in range(5)]
    assert isinstance(named.names[0], str)
    assert not isinstance(named.names, TextArray)


def test_subset_depends_on_seed_kind_and_set():
    counts = [10] * 30
    assert sampled_names("few_shot_30", counts) == sampled_names("few_shot_30_seed0", counts)
    assert sampled_names("few_shot_30", counts) != sampled_names("few_shot_30_seed1", counts)
    assert sampled_names("few_shot_30", counts) != sampled_names(
        "few_shot_30", counts, name="Other"
    )
    assert sampled_names("small_scale_30", counts) != sampled_names("small_scale_30_seed1", counts)


def test_subset_images_are_equally_likely():
    chosen = Counter(
        name for seed in range(400) for name in sampled_names(f"few_shot_50_seed{seed}", [6])
    )
    # 400 samples of 3 of 6: 200 each, standard deviation 10.
    assert all(abs(count - 200) < 45 for count in chosen.values())
    assert len(chosen) == 6


def test_hash_shuffle_order_is_fixed():
    """Expect the fixed names that other machines and versions of libraries sample too."""
    # for n in a b c d e; do echo "$(printf "0\nfew_shot\nSet\n$n" | sha256sum) $n"; done | sort
    assert "".join(hash_shuffle("abcde", 0, "few_shot", "Set")) == "edcba"
