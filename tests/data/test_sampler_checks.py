import itertools
import re
import signal

import pytest
from fastreid.data import samplers as host

from fastreid_ext.data.sampler_checks import batch_problems


def problems(counts, sampler="NaiveIdentitySampler", batch_size=8, instances=2, world_size=1):
    pids = [f"p{identity}" for identity, count in enumerate(counts) for _ in range(count)]
    return batch_problems(
        sampler, pids, batch_size=batch_size, instances=instances, world_size=world_size
    )


def fills_a_batch(sampler, counts, batch_size, instances, world_size):
    """Tell whether fastreid's sampler fills a batch within 0.3 s; microseconds are enough."""
    items = [("", f"p{p:02d}", f"c{i % 2}") for p, n in enumerate(counts) for i in range(n)]
    host_sampler = getattr(host, sampler)(items, batch_size // world_size, instances, seed=0)
    host_sampler._world_size = world_size
    host_sampler.batch_size = batch_size

    def stop(*_):
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        return len(list(itertools.islice(host_sampler._infinite_indices(), batch_size))) > 0
    except TimeoutError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("sampler", ["NaiveIdentitySampler", "BalancedIdentitySampler"])
@pytest.mark.parametrize(
    ("counts", "world_size"),
    [
        ([2] * 4, 1),
        ([3] * 3, 1),
        ([1, 1, 9, 9], 1),  # one image each: copies
        ([4] * 2, 2),  # both identities twice, one batch for each process
        ([2] * 3, 2),  # three takes of two identities cannot make two batches
        ([4, 2, 2], 2),
        ([9] + [1] * 2, 2),
        ([2] * 4, 2),
    ],
)
def test_sampler_checks_agree_with_fastreid(sampler, counts, world_size):
    counts = [max(count, 8) for count in counts] if sum(counts) < 8 else counts
    found = problems(counts, sampler, world_size=world_size)
    assert (not found) == fills_a_batch(sampler, counts, 8, 2, world_size)


def test_sampler_checks_name_the_largest_batch():
    text = "needs 4 different identities .* there are 3; lower SOLVER.IMS_PER_BATCH to 6, raise"
    with pytest.raises(AssertionError, match=text):
        assert not problems([5] * 3)


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        (
            {"batch_size": 7},
            r"complete identities .* got SOLVER.IMS_PER_BATCH 7 / 1 = 7 .*_BATCH 6",
        ),
        ({"batch_size": 12, "world_size": 4}, r"12 / 4 = 3 images .* use SOLVER.IMS_PER_BATCH 8"),
        ({"batch_size": 7, "world_size": 2}, r"a multiple of the 2 processes, got 7; use 6"),
        ({"batch_size": 64}, r"only 40 training images, so an epoch has no iteration"),
        ({"sampler": "SetReWeightSampler"}, r"never fills a batch in fastreid 1.4.0; use Naive"),
    ],
)
def test_sampler_checks_give_remedies(kwargs, expected):
    import re

    assert re.search(expected, " ".join(problems([5] * 8, **kwargs)))


@pytest.mark.parametrize("sampler", ["TrainingSampler", "ImbalancedDatasetSampler"])
def test_sampler_checks_of_single_images_need_no_identities(sampler):
    assert problems([9], sampler, batch_size=9) == []


def test_sampler_checks_refuse_set_reweight_sampler():
    # It is refused because its own assertion requires more images than it collects.
    items = [("", f"p{i // 4}", i // 4 % 2) for i in range(32)]
    with pytest.raises(AssertionError, match="Batch size must be divisible"):
        host.SetReWeightSampler(items, 8, 2, [2, 2], seed=0)


def test_sampler_checks_once_per_identity_counts_identities():
    once = "OncePerIdentitySampler"
    assert problems([1] * 4, once) == []  # 8 images in a batch of 4 identities with one each
    text = "needs 4 different identities .* there are 3; lower SOLVER.IMS_PER_BATCH to 6"
    with pytest.raises(AssertionError, match=text):
        assert not problems([9] * 3, once)
    assert "needs 8 different identities" in problems([9] * 7, once, 16, world_size=2)[0]
    assert "got SOLVER.IMS_PER_BATCH 7 / 1 = 7" in problems([9] * 7, once, 7)[0]


@pytest.mark.parametrize(
    ("counts", "batch_size", "instances", "world_size", "message"),
    [
        ([9], 4, 2, 1, None),  # another problem already says that no batch has two identities
        ([9], 2, 2, 1, "compares identities, but the training images show 1; add identities"),
        ([9] * 8, 4, 4, 1, r"each of 1 processes gets 4 images \(SOLVER.IMS_PER_BATCH 4\) of one"),
        ([9] * 8, 8, 4, 2, r"each of 2 processes gets 4 .* raise SOLVER.IMS_PER_BATCH to 16 or"),
        ([9] * 8, 16, 4, 2, None),
        ([9] * 8, 16, 4, 2, "DATALOADER.SAMPLER_TRAIN TrainingSampler takes images one by one, so"),
    ],
)
def test_sampler_checks_pair_losses_need_two_identities(
    counts, batch_size, instances, world_size, message
):
    """fastreid's triplet loss compares within one process, so it would be 0 for a whole run."""
    pids = [f"p{identity}" for identity, count in enumerate(counts) for _ in range(count)]
    sizes = {"batch_size": batch_size, "instances": instances, "world_size": world_size}
    losses = ("CrossEntropyLoss", "TripletLoss")
    takes_singles = message is not None and "TrainingSampler" in message
    sampler = "TrainingSampler" if takes_singles else "NaiveIdentitySampler"
    found = batch_problems(sampler, pids, **sizes, losses=losses)
    named = [problem for problem in found if "TripletLoss" in problem]
    assert bool(named) == (message is not None)
    if message:
        assert re.search(message, named[0])
    assert not [p for p in batch_problems("NaiveIdentitySampler", pids, **sizes) if "Trip" in p]


@pytest.mark.parametrize(
    ("sampler", "counts", "batch_size", "instances", "message"),
    [
        ("NaiveIdentitySampler", [9] * 8, 8, 4, None),
        ("NaiveIdentitySampler", [9] * 8, 4, 4, "each of 1 processes gets 4 images .* of one iden"),
        (
            "NaiveIdentitySampler",
            [9],
            4,
            4,
            "PrototypeContrastLoss, which compares identities, but",
        ),
        ("TrainingSampler", [9], 4, 4, "the training images show 1; add identities, or remove the"),
        # Images one by one are no problem: each is compared with all prototypes.
        ("TrainingSampler", [9] * 8, 4, 4, None),
    ],
)
def test_sampler_checks_prototype_losses_need_two_identities(
    sampler, counts, batch_size, instances, message
):
    pids = [f"p{identity}" for identity, count in enumerate(counts) for _ in range(count)]
    sizes = {"batch_size": batch_size, "instances": instances, "world_size": 1}
    found = batch_problems(sampler, pids, **sizes, losses=("PrototypeContrastLoss",))
    assert bool(found) == (message is not None)
    if message:
        assert re.search(message, found[0])
    with_triplets = batch_problems(
        sampler, pids, **sizes, losses=("PrototypeContrastLoss", "TripletLoss")
    )
    assert bool(with_triplets) == (message is not None or sampler == "TrainingSampler")
