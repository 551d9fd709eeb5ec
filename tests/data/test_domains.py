"""Batches of a labelled source and a target whose images have clusters as labels."""

import itertools

import numpy as np

from fastreid_ext.data.configured_sets import TrainingItems
from fastreid_ext.data.domains import PairedStream, labels_of_both, shared_images
from fastreid_ext.data.item_arrays import ItemArrays


def counting(start):
    return lambda seed: itertools.count(start)


def test_batches_are_a_part_of_the_source_and_a_part_of_the_target():
    stream = PairedStream(counting(0), counting(100), images=3)
    expected = [0, 1, 2, 100, 101, 102, 3, 4, 5, 103, 104, 105]
    assert list(itertools.islice(stream(0), 12)) == expected


def test_stream_can_be_entered_anywhere():
    stream = PairedStream(counting(0), counting(100), images=3)
    whole = list(itertools.islice(stream(0), 40))
    for position in (0, 2, 3, 5, 6, 11, 18):
        assert (
            list(itertools.islice(stream.from_position(0, position), 20))
            == (whole[position : position + 20])
        )


def test_halves_have_seeds_of_their_own():
    seeds = []
    for _ in range(2):
        stream = PairedStream(lambda seed: iter([seed]), lambda seed: iter([seed]), images=1)
        seeds.append(list(itertools.islice(stream(3), 2)))
    assert seeds[0] == seeds[1]
    assert seeds[0][0] != seeds[0][1]


def test_clusters_count_from_the_number_of_source_identities():
    labels = labels_of_both(np.array([1, 0, 1, 2]), np.array([-1, 0, 2]))
    assert labels.tolist() == [1, 0, 1, 2, -1, 3, 5]


def test_images_of_both_domains_are_found():
    rows = [("a.jpg", "x_1", "x_c1"), ("b.jpg", "x_2", "x_c1"), ("./a.jpg", "y_1", "y_c1")]
    training = TrainingItems(ItemArrays.of(rows), [("x", 2), ("y", 1)], source_images=2)
    assert [path.rpartition("/")[2] for path in shared_images(training)] == ["a.jpg"]
    assert shared_images(TrainingItems.given(rows)) == []
