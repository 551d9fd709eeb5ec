import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from fastreid_ext.data.mixed_batches import MixedBatches


def pool(real, generated):
    """Build a stream, pids and kinds from ``{identity: number of images}`` of each kind."""
    pids = [p for part in (real, generated) for p, n in part.items() for _ in range(n)]
    kinds = [False] * sum(real.values()) + [True] * sum(generated.values())
    return pids, kinds


def mixed(real, generated, **kwargs):
    pids, kinds = pool(real, generated)
    options = {"share": 0.5, "within_identities": True, "batch_size": 16, "instances": 4} | kwargs
    return MixedBatches(pids, kinds, **options), pids, kinds


def batches(stream, size, count, seed=0):
    indices = stream(seed)
    return [list(itertools.islice(indices, size)) for _ in range(count)]


def ids(prefix, count, images=6):
    return {f"{prefix}{i}": images for i in range(count)}


@pytest.mark.parametrize(("share", "generated"), [(0.25, 4), (0.5, 8), (0.3, 5), (0.75, 12)])
def test_mixing_within_identities_keeps_the_share(share, generated):
    stream, pids, kinds = mixed(ids("p", 10), ids("p", 10), share=share)
    for batch in batches(stream, 16, 40):
        assert sum(kinds[i] for i in batch) == generated
        identities = Counter(pids[i] for i in batch)
        assert list(identities.values()) == [4] * 4
        per_identity = Counter(pids[i] for i in batch if kinds[i])
        counts = [per_identity[identity] for identity in identities]
        assert max(counts) - min(counts) <= 1
        assert len(set(batch)) == 16  # enough images, so none twice


def test_mixing_within_identities_of_one_kind():
    stream, pids, kinds = mixed(ids("real", 4) | ids("both", 4), ids("both", 4) | ids("made", 2))
    for batch in batches(stream, 16, 40):
        per_identity = Counter(pids[i] for i in batch if kinds[i])
        for identity in {pids[i] for i in batch}:
            expected = {"real": 0, "both": 2, "made": 4}[identity.rstrip("0123456789")]
            assert per_identity[identity] == expected


@pytest.mark.parametrize(("share", "identities"), [(0.25, 1), (0.5, 2), (0.7, 3)])
def test_mixing_between_identities_keeps_the_share(share, identities):
    stream, pids, kinds = mixed(ids("p", 10), ids("g", 6), share=share, within_identities=False)
    for batch in batches(stream, 16, 40):
        assert sum(kinds[i] for i in batch) == identities * 4
        assert list(Counter(pids[i] for i in batch).values()) == [4] * 4


def test_mixing_single_images():
    pids, kinds = pool(ids("p", 10), ids("g", 3))
    stream = MixedBatches(
        range(len(pids)), kinds, share=0.3, within_identities=False, batch_size=10, instances=1
    )
    for batch in batches(stream, 10, 20):
        assert sum(kinds[i] for i in batch) == 3
        assert len(set(batch)) == 10


@pytest.mark.parametrize("within_identities", [True, False])
def test_mixing_each_process_gets_the_share(within_identities):
    names = ("p", "p") if within_identities else ("p", "g")
    stream, pids, kinds = mixed(
        ids(names[0], 12), ids(names[1], 12), within_identities=within_identities, world_size=2
    )
    for batch in batches(stream, 32, 20):
        assert max(Counter(pids[i] for i in batch).values()) == 4  # no identity in both processes
        for rank in (0, 1):
            share = batch[rank::2]
            assert sum(kinds[i] for i in share) == 8
            assert list(Counter(pids[i] for i in share).values()) == [4] * 4


def test_mixing_uses_identities_and_images_equally_often():
    stream, pids, _ = mixed(ids("p", 8), ids("p", 8))
    indices = [
        i for batch in batches(stream, 16, 48) for i in batch
    ]  # 24 times through 8 identities
    assert set(Counter(pids[i] for i in indices).values()) == {96}
    images = Counter(indices)
    assert len(images) == 96
    assert max(images.values()) - min(images.values()) <= 2


def test_mixing_repeats_few_images_after_all_have_come():
    stream, pids, _ = mixed(ids("p", 4, images=1), ids("p", 4, images=3), share=0.5)
    for batch in batches(stream, 16, 10):
        for identity in {pids[i] for i in batch}:
            own = Counter(i for i in batch if pids[i] == identity)
            assert sorted(own.values()) == [1, 1, 2]  # the one real image twice


def test_mixing_order_depends_on_the_seed():
    stream, _, _ = mixed(ids("p", 8), ids("p", 8))
    assert batches(stream, 16, 5, seed=1) == batches(stream, 16, 5, seed=1)
    assert batches(stream, 16, 5, seed=1) != batches(stream, 16, 5, seed=2)


@pytest.mark.parametrize(
    ("real", "generated", "kwargs", "text"),
    [
        (8, 0, {}, "there are no generated ones; add a generated set"),
        (0, 8, {}, "there are no real ones"),
        (8, 8, {"share": 0.01}, "0.01 of the 16 images in a batch rounds to 0, .* between 0.0625"),
        (
            8,
            8,
            {"share": 0.1, "within_identities": False},
            "of the 4 identities in a batch rounds to 0",
        ),
        (
            8,
            1,
            {"within_identities": False},
            "puts 2 different generated identities into a batch but there are 1",
        ),
        (
            7,
            7,
            {"world_size": 2},
            "puts 8 different identities into a batch but there are 7; change",
        ),
        (
            3,
            9,
            {"within_identities": False, "world_size": 2},
            "puts 4 different real identities .* there are 3",
        ),
    ],
)
def test_mixing_impossible_share_is_explained(real, generated, kwargs, text):
    prefix = "p" if kwargs.get("within_identities", True) else "g"
    stream, _, _ = mixed(ids("p", real), ids(prefix, generated), **kwargs)
    with pytest.raises(AssertionError, match=text):
        assert not stream.problems()


def test_mixing_possible_share_has_no_problems():
    assert mixed(ids("p", 8), ids("p", 8))[0].problems() == []


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("p", [2, 14, 4, 17, 6, 19, 9, 22, 7, 18, 11, 21, 3, 16, 0, 12, 5, 15, 1, 13, 10, 23]),
        ("g", [2, 0, 5, 3, 19, 18, 14, 13, 6, 7, 10, 9, 15, 17, 22, 21, 8, 7, 11, 10, 12, 13]),
    ],
)
def test_mixing_order_of_a_seed_is_fixed(prefix, expected):
    """Expect the order of earlier versions, whose runs resume with the same batches."""
    options = {"within_identities": prefix == "p", "batch_size": 8, "instances": 2}
    stream, _, _ = mixed(ids("p", 4, 3), ids(prefix, 4, 3), **options)
    assert list(itertools.islice(stream(3), len(expected))) == expected


@pytest.mark.parametrize(("images", "instances", "most"), [(5, 4, 120), (1, 1, 50)])
def test_mixing_memory_per_image_is_bounded(images, instances, most):
    """Count bytes per image after an epoch; lists of each identity took 190 to 580."""
    count = 20_000
    tracemalloc.start()
    stream = MixedBatches(
        np.arange(count) // images,
        np.arange(count) % 2 == 0,
        share=0.5,
        within_identities=images > 1,
        batch_size=64,
        instances=instances,
    )
    indices = stream(0)
    for _ in range(count):
        next(indices)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / count < most
