import itertools
import pickle
import random
from collections import Counter

import numpy as np
import pytest
import torch
from fastreid.data import samplers as host

from fastreid_ext.data.once_per_identity import OncePerIdentity
from fastreid_ext.data.one_per_camera import OnePerCamera
from fastreid_ext.data.samplers import (
    ResumableSampler,
    SampledIndex,
    fastreid_stream,
)

ITEMS = [(f"{i}.jpg", f"p{i // 5}", f"c{i % 3}") for i in range(60)]
NAMES = (
    "TrainingSampler",
    "NaiveIdentitySampler",
    "BalancedIdentitySampler",
    "ImbalancedDatasetSampler",
    "OncePerIdentitySampler",
    "OnePerCameraSampler",
)


def stream_of(name):
    if name == "OncePerIdentitySampler":
        return OncePerIdentity([pid for _, pid, _ in ITEMS], batch_size=8, instances=4)
    if name == "OnePerCameraSampler":
        pids, cameras = zip(*(item[1:] for item in ITEMS), strict=True)
        return OnePerCamera(pids, cameras, batch_size=8, instances=4)
    return fastreid_stream(name, ITEMS, batch_size=8, instances=4)


def take(iterable, count):
    return list(itertools.islice(iterable, count))


@pytest.mark.parametrize("name", NAMES[:3])
def test_fastreid_stream_order_equals_fastreid(name):
    theirs = {
        "TrainingSampler": lambda: host.TrainingSampler(len(ITEMS), seed=3),
        "NaiveIdentitySampler": lambda: host.NaiveIdentitySampler(ITEMS, 8, 4, seed=3),
        "BalancedIdentitySampler": lambda: host.BalancedIdentitySampler(ITEMS, 8, 4, seed=3),
    }[name]()
    assert take(stream_of(name)(3), 200) == take(theirs, 200)


def test_fastreid_stream_imbalanced_evens_identities_out():
    items = [("a", "rare", "c")] + [("b", "common", "c")] * 9
    stream = fastreid_stream("ImbalancedDatasetSampler", items, batch_size=4, instances=1)
    rare = sum(index == 0 for index in take(stream(0), 4000))
    assert 1850 < rare < 2150  # half, with a standard deviation of 32


@pytest.mark.parametrize("name", NAMES)
def test_fastreid_stream_keeps_the_process_wide_generators(name):
    expected = take(stream_of(name)(3), 50)
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
        stream = stream_of(name)(3)
        indices = []
        for _ in range(50):
            indices.append(next(stream))
            np.random.random()  # noqa: NPY002  other code uses the generator in between
            np.random.seed(seed)  # noqa: NPY002
        assert indices == expected
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("start", [1, 8, 61, 160])
def test_resumable_sampler_skips_to_any_position(name, start):
    whole = take(ResumableSampler(stream_of(name), 5), 200)
    resumed = ResumableSampler(stream_of(name), 5)
    resumed.skip_to(start)
    tail = take(resumed, 200 - start)
    assert tail == whole[start:]
    assert [index.position for index in tail] == list(range(start, 200))


def test_resumable_sampler_shares_the_stream():
    alone = take(ResumableSampler(stream_of("NaiveIdentitySampler"), 5), 40)
    shares = [
        take(ResumableSampler(stream_of("NaiveIdentitySampler"), 5, rank=r, world_size=2), 20)
        for r in (0, 1)
    ]
    assert shares == [alone[0::2], alone[1::2]]
    assert [index.position for index in shares[1]] == list(range(1, 40, 2))


def test_resumable_sampler_order_depends_on_the_seed():
    assert take(stream_of("TrainingSampler")(1), 60) != take(stream_of("TrainingSampler")(2), 60)


def test_sampled_index_is_an_index_and_survives_pickling():
    index = pickle.loads(pickle.dumps(SampledIndex(4, position=123, seed=9)))
    assert "abcde"[index] == "e"
    assert (index, index.position, index.seed) == (4, 123, 9)


def test_samplers_refuse_negative_positions_and_unknown_names():
    with pytest.raises(ValueError, match="expected a position >= 0 in the stream, got -1"):
        ResumableSampler(stream_of("TrainingSampler"), 1).skip_to(-1)
    with pytest.raises(
        ValueError, match=r"unknown name 'Other' in DATALOADER.SAMPLER_TRAIN; known: Bal"
    ):
        stream_of("Other")


def epochs(counts, *, batch_size=8, world_size=1, number=20, seed=0):
    """Sample epochs of batches of all processes, and list the identity of each image."""
    pids = [f"p{identity}" for identity, count in enumerate(counts) for _ in range(count)]
    stream = OncePerIdentity(pids, batch_size=batch_size, instances=4, world_size=world_size)(seed)
    size = batch_size * world_size
    batches = len(counts) * 4 // size
    return [[take(stream, size) for _ in range(batches)] for _ in range(number)], pids


def test_once_per_identity_visits_every_identity_once():
    batches, pids = epochs([5, 9, 4, 6, 12, 7])
    for epoch in batches:
        assert len(epoch) == 3
        for batch in epoch:
            assert list(Counter(pids[i] for i in batch).values()) == [4, 4]
            assert len(set(batch)) == 8
            assert pids[batch[0]] == pids[batch[3]]  # an identity's images stand together
        visits = Counter(pids[i] for batch in epoch for i in batch)
        assert visits == dict.fromkeys(pids, 4)
    assert len({tuple(pids[i] for batch in epoch for i in batch) for epoch in batches}) > 15
    assert {i for epoch in batches for batch in epoch for i in batch} == set(range(len(pids)))


def test_once_per_identity_leaves_other_identities_out_each_epoch():
    batches, pids = epochs([5] * 7, number=60)  # two in a batch, one is left over
    missing = Counter()
    for epoch in batches:
        present = {pids[i] for batch in epoch for i in batch}
        assert len(present) == 6
        missing.update(set(pids) - present)
    assert len(missing) == 7
    assert max(missing.values()) < 20  # of 60, 8.6 expected


@pytest.mark.parametrize("count", [1, 2, 3])
def test_once_per_identity_uses_all_images_before_copies(count):
    batches, pids = epochs([count, 9])
    for epoch in batches:
        own = Counter(i for batch in epoch for i in batch if pids[i] == "p0")
        assert (set(own), own.total()) == (set(range(count)), 4)


def test_once_per_identity_processes_get_different_identities():
    batches, pids = epochs([6] * 9, world_size=2)
    for epoch in batches:
        assert len(epoch) == 2  # 4 identities in the batch of both; one of nine is left over
        for batch in epoch:
            shares = [Counter(pids[i] for i in batch[rank::2]) for rank in (0, 1)]
            assert all(list(share.values()) == [4, 4] for share in shares)
            assert not set(shares[0]) & set(shares[1])


def test_once_per_identity_depends_on_the_seed():
    assert epochs([9] * 6, seed=1) == epochs([9] * 6, seed=1)
    assert epochs([9] * 6, seed=1) != epochs([9] * 6, seed=2)
