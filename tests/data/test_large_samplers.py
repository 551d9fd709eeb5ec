"""Samplers of very large sets: distributions of fastreid's samplers, start at any position."""

import itertools
import time
from collections import Counter

import numpy as np
import pytest

from fastreid_ext.data import samplers
from fastreid_ext.data.item_arrays import ItemArrays, NumberedNames, TextArray
from fastreid_ext.data.large_samplers import (
    LARGE_IDENTITIES,
    LargeBalanced,
    LargeImbalanced,
    LargeNaive,
    LargeOncePerIdentity,
    ShuffledImages,
    is_large,
)
from fastreid_ext.data.samplers import ResumableSampler, fastreid_stream, once_per_identity

IDENTITY_STREAMS = (LargeNaive, LargeBalanced, LargeOncePerIdentity)


def items_with(counts, cameras=3):
    return ItemArrays.of(
        (f"{pid}_{image}.jpg", f"p{pid:03d}", f"c{image % cameras}")
        for pid, count in enumerate(counts)
        for image in range(count)
    )


def many(identities, images):
    """Build items without files: ``identities`` with ``images`` images each, in mixed order."""
    pids = np.random.default_rng(0).permutation(np.repeat(np.arange(identities), images))
    return ItemArrays(
        TextArray(np.empty(0, np.uint8), np.zeros(len(pids) + 1, np.int64)),
        pids,
        np.arange(len(pids)) % 6,
        NumberedNames("p_", np.arange(identities)),
        NumberedNames("c_", np.arange(6)),
    )


def take(iterable, count):
    return list(itertools.islice(iterable, count))


def streams(items, world_size=1):
    laws = [
        law(items, batch_size=8, instances=4, world_size=world_size) for law in IDENTITY_STREAMS
    ]
    return [*laws, LargeImbalanced(items), ShuffledImages(len(items))]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("position", [1, 8, 61, 160, 5001])
def test_stream_starts_at_any_position(number, position):
    stream = streams(items_with([5, 9, 4, 1, 12, 7]))[number]
    whole = take(stream(3), position + 100)
    assert take(stream.from_position(3, position), 100) == whole[position:]
    sampler = ResumableSampler(stream, 3, rank=1, world_size=2)
    sampler.skip_to(position)
    found = take(sampler, 30)
    assert found == whole[position + 1 : position + 61 : 2]
    assert [one.position for one in found] == list(range(position + 1, position + 61, 2))
    assert all(type(index) is int for index in whole)
    assert take(stream(4), 50) != whole[:50]


@pytest.mark.parametrize("law", IDENTITY_STREAMS)
@pytest.mark.parametrize("world_size", [1, 2])
def test_large_samplers_processes_get_different_identities(law, world_size):
    items = items_with([6] * 9)
    pids = items.pids
    stream = law(items, batch_size=8, instances=4, world_size=world_size)(0)
    for _ in range(50):
        batch = take(stream, 8 * world_size)
        for rank in range(world_size):
            assert list(Counter(pids[batch[rank::world_size]]).values()) == [4, 4]


def test_large_naive_gives_each_turn_other_images():
    counts = [9, 4, 2] * 20  # 2, 1 and 1 turns
    items = items_with(counts)
    stream = LargeNaive(items, batch_size=8, instances=4)
    assert stream.batches == 40
    for seed in range(20):
        # The last batches of an epoch may begin again with all identities.
        rows = np.array(take(stream(seed), 8 * 30)).reshape(-1, 4)
        own = items.pids[rows]
        assert (own == own[:, :1]).all()
        turns = Counter(own[:, 0].tolist())
        assert all(count <= max(counts[pid] // 4, 1) for pid, count in turns.items())
        images = [i for row in rows.tolist() for i in row if counts[items.pids[i]] >= 4]
        assert len(set(images)) == len(images)


def test_large_naive_chooses_identities_as_fastreid():
    """Count how often identities are in the first batch and in the epoch, over many seeds."""
    items = items_with([4, 8, 12, 16, 20, 24, 4, 4])
    ours = Counter()
    theirs = Counter()
    host = fastreid_stream("NaiveIdentitySampler", items, batch_size=8, instances=4)
    stream = LargeNaive(items, batch_size=8, instances=4)
    for seed in range(1500):
        ours.update(items.pids[take(stream(seed), 40)[::4]].tolist())
        theirs.update(items.pids[take(host(seed), 40)[::4]].tolist())
    gap = [abs(ours[pid] - theirs[pid]) / 15000 for pid in range(8)]
    assert max(gap) < 0.012  # of about 0.125; four standard deviations


def test_large_balanced_prefers_other_cameras():
    items = items_with([12, 12, 3, 1], cameras=3)
    stream = LargeBalanced(items, batch_size=4, instances=4)(0)
    for _ in range(200):
        batch = take(stream, 4)
        cameras = items.camids[batch]
        count = np.bincount(items.pids)[items.pids[batch[0]]]
        if count == 1:
            assert len(set(batch)) == 1
        else:
            assert (cameras[1:] != cameras[0]).all()
        if count == 12:
            assert len(set(batch)) == 4


def test_large_once_per_identity_gives_all_images_before_copies():
    items = items_with([2, 9, 4, 6])
    stream = LargeOncePerIdentity(items, batch_size=8, instances=4)(0)
    seen = set()
    for _ in range(100):
        epoch = take(stream, 16)
        assert sorted(Counter(items.pids[epoch]).values()) == [4, 4, 4, 4]
        assert set(epoch) >= {0, 1}
        assert len({i for i in epoch if i >= 2}) == 12
        seen.update(epoch)
    assert seen == set(range(21))


def test_large_imbalanced_evens_identities_out():
    items = items_with([1, 9])
    rare = sum(index == 0 for index in take(LargeImbalanced(items)(0), 5000))
    assert 2300 < rare < 2700  # half, with a standard deviation of 35


def test_shuffled_images_come_once_per_epoch():
    stream = ShuffledImages(50)(1)
    epochs = [take(stream, 50) for _ in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_small_sets_keep_the_order_of_fastreid():
    small = many(LARGE_IDENTITIES, 1)
    large = many(LARGE_IDENTITIES + 1, 1)
    assert not is_large(small)
    assert is_large(large)
    kwargs = {"batch_size": 8, "instances": 2}
    for name, law in (
        ("TrainingSampler", ShuffledImages),
        ("NaiveIdentitySampler", LargeNaive),
        ("BalancedIdentitySampler", LargeBalanced),
        ("ImbalancedDatasetSampler", LargeImbalanced),
    ):
        assert type(fastreid_stream(name, large, **kwargs)) is law
        assert not hasattr(fastreid_stream(name, small, **kwargs), "from_position")
    assert type(once_per_identity(large, **kwargs)) is LargeOncePerIdentity
    assert type(once_per_identity(small, **kwargs)) is samplers.OncePerIdentity


@pytest.mark.parametrize("law", IDENTITY_STREAMS)
def test_large_samplers_are_quick_at_any_position(law):
    """Expect less than 2 ms for 64 identities of 4 images, and no delay at position 10^8."""
    stream = law(many(200_000, 5), batch_size=256, instances=4)
    next(stream(0))  # compiles
    began = time.process_time()
    late = stream.from_position(0, 100_000_000)
    next(late)
    entered = time.process_time() - began
    began = time.process_time()
    take(late, 256 * 50)
    assert (time.process_time() - began) / 50 < 0.002
    assert entered < 1
