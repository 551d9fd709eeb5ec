"""Batches of equal shares of domains."""

import itertools

import numpy as np
import pytest

from fastreid_ext.data.domain_batches import DomainBatches, domain_problems

# 3 domains of 4, 3 and 5 persons; person 0 is in two domains; 1 to 6 images of each.
PLAN = {0: [0, 1, 2, 3], 7: [0, 4, 5], 9: [6, 7, 8, 9, 10]}
ROWS = [(pid, domain) for domain, pids in PLAN.items() for pid in pids for _ in range(1 + pid % 6)]
PIDS, DOMAINS = np.array(ROWS).T


def batches(count, **options):
    stream = DomainBatches(PIDS, DOMAINS, instances=3, **options)
    size = options["batch_size"] * options.get("world_size", 1)
    return np.array(list(itertools.islice(stream(3), count * size))).reshape(count, size)


def test_each_batch_has_equally_many_persons_of_each_domain():
    for batch in batches(50, batch_size=18):
        rows = np.stack([PIDS[batch], DOMAINS[batch]], axis=1)
        found, counts = np.unique(rows, axis=0, return_counts=True)
        assert counts.tolist() == [3] * 6
        assert np.unique(found[:, 1], return_counts=True)[1].tolist() == [2, 2, 2]


def test_a_person_with_enough_images_repeats_none():
    for batch in batches(50, batch_size=18):
        for pid in (3, 4, 5, 9, 10):
            own = batch[PIDS[batch] == pid]
            assert len(own) == len(set(own))


def test_a_domain_passes_over_its_persons():
    order = batches(4, batch_size=18)
    first_pass = PIDS[order[:2]][DOMAINS[order[:2]] == 0]
    assert sorted(set(first_pass)) == [0, 1, 2, 3]


def test_two_processes_have_whole_batches_each():
    together = batches(20, batch_size=9, world_size=2)
    for batch in together:
        for rank in (0, 1):
            own = batch[rank::2]
            assert np.unique(DOMAINS[own], return_counts=True)[1].tolist() == [3, 3, 3]
            pairs = np.stack([PIDS[own], DOMAINS[own]], axis=1)
            assert set(np.unique(pairs, axis=0, return_counts=True)[1]) == {3}


def test_the_same_seed_gives_the_same_order():
    stream = DomainBatches(PIDS, DOMAINS, batch_size=18, instances=3)
    first = list(itertools.islice(stream(1), 90))
    assert first == list(itertools.islice(stream(1), 90))
    assert first != list(itertools.islice(stream(2), 90))


@pytest.mark.parametrize(
    ("pids", "domains", "size", "words"),
    [
        ([0, 1], [0, 0], 8, "at least two domains.*cameras"),
        ([0, 1], [0, 1], 6, "multiple of 2 domains.*got 6.*use 4"),
        ([0, 1, 2], [0, 1, 1], 8, "2 persons of each domain, but 0 has 1"),
    ],
)
def test_domains_that_cannot_fill_a_batch_are_named(pids, domains, size, words):
    assert len(domain_problems(pids, domains, batch_size=size, instances=2)) == 1
    with pytest.raises(ValueError, match=words):
        DomainBatches(pids, domains, batch_size=size, instances=2)
