"""Labels in two levels: what every change must keep, and where an image goes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.neighbours.label_hierarchy import Dynamics, LabelHierarchy, _end_of_chain

SOURCES = 6


def people(seed, images=8, count=9, spread=0.35, dim=16):
    """Make a memory of source centroids and of images around the centres of ``count`` persons."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, dim, generator=generator)
    noise = torch.randn(count * images, dim, generator=generator)
    rows = centres.repeat_interleave(images, dim=0) + spread * noise
    sources = torch.randn(SOURCES, dim, generator=generator)
    return F.normalize(torch.cat([sources, rows]), dim=1), np.repeat(np.arange(count), images)


def assert_sound(hierarchy):
    rows = np.arange(SOURCES)
    assert np.array_equal(hierarchy.sub[:SOURCES], rows)
    assert np.array_equal(hierarchy.top[:SOURCES], rows)
    own = np.arange(SOURCES, len(hierarchy.sub))
    assert (hierarchy.sub[own] >= SOURCES).all()
    assert (hierarchy.top[own] >= SOURCES).all()
    # The anchor of a sub-cluster is in it; each sub-cluster lies in one cluster.
    assert np.array_equal(hierarchy.sub[hierarchy.sub], hierarchy.sub)
    pairs = np.unique(np.stack([hierarchy.sub, hierarchy.top]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]
    assert hierarchy.top.max() < hierarchy.fresh


@pytest.mark.parametrize("anchors", ["farthest", "density"])
@pytest.mark.parametrize("seed", range(3))
def test_labels_stay_sound_over_many_batches(seed, anchors):
    memory, _ = people(seed)
    rng = np.random.default_rng(seed)
    labels = np.unique(rng.integers(0, 12, 72), return_inverse=True)[1]
    dynamics = Dynamics(neighbours=24, linked=8, anchors=anchors, parts=3)
    hierarchy = LabelHierarchy.of_clusters(labels, sources=SOURCES, dynamics=dynamics)
    assert_sound(hierarchy)
    for _ in range(12):
        before = hierarchy.fresh
        rows = SOURCES + rng.integers(0, 72, 16)
        hierarchy.update(memory, rows)
        assert_sound(hierarchy)
        assert hierarchy.fresh >= before + len(set(rows))


def test_wrong_labels_become_those_of_the_persons():
    memory, persons = people(0, spread=0.15, dim=64)
    rng = np.random.default_rng(1)
    wrong = persons.copy()
    wrong[rng.choice(72, 14, replace=False)] = rng.integers(0, 9, 14)
    hierarchy = LabelHierarchy.of_clusters(
        np.unique(wrong, return_inverse=True)[1], sources=SOURCES, dynamics=Dynamics(neighbours=16)
    )
    for first in range(0, 144, 16):
        hierarchy.update(memory, SOURCES + np.arange(first, first + 16) % 72)
    found = hierarchy.clusters()
    pairs = np.unique(np.stack([found, persons]), axis=1)
    assert pairs.shape[1] == len(np.unique(found)) == 9


def test_order_of_the_batch_does_not_matter():
    memory, persons = people(2)
    rows = SOURCES + np.random.default_rng(3).permutation(72)[:20]
    found = []
    for batch in (rows, rows[::-1], np.concatenate([rows, rows[:5]])):
        hierarchy = LabelHierarchy.of_clusters(persons, sources=SOURCES)
        hierarchy.update(memory, batch)
        found.append((hierarchy.sub.tolist(), hierarchy.top.tolist()))
    assert found[0] == found[1] == found[2]


def test_far_image_ends_alone_and_a_source_is_never_joined():
    memory, persons = people(4, spread=0.1)
    far = SOURCES + 70
    alike = SOURCES + 3
    memory[far] = F.normalize(-memory.mean(dim=0), dim=0)
    memory[alike] = memory[2]  # exactly a centroid of the source
    hierarchy = LabelHierarchy.of_clusters(persons, sources=SOURCES)
    hierarchy.update(memory, np.array([far, alike]))
    for row in (far, alike):
        assert (hierarchy.top == hierarchy.top[row]).sum() == 1
        assert hierarchy.sub[row] == row
    assert_sound(hierarchy)


def test_anchor_that_leaves_hands_over_to_another_image():
    memory, persons = people(5, spread=0.1)
    anchor = SOURCES + 16
    memory[anchor] = F.normalize(-memory.mean(dim=0), dim=0)
    hierarchy = LabelHierarchy.of_clusters(persons, sources=SOURCES)
    rest = np.arange(anchor + 1, anchor + 8)
    top = hierarchy.top[rest[0]]
    hierarchy.update(memory, np.array([anchor]))
    assert set(hierarchy.sub[rest]) == {rest[0]}
    assert set(hierarchy.top[rest]) == {top}


@pytest.mark.parametrize(
    ("joins", "expected"),
    [({1: 9}, 9), ({1: 2, 2: 7}, 7), ({1: 2, 2: 1}, 1), ({1: 3, 3: 2, 2: 3}, 2), ({}, 1)],
)
def test_chains_end_at_a_row_that_joins_none_and_circles_at_their_smallest(joins, expected):
    assert _end_of_chain(1, joins) == expected


def test_clusters_are_numbered_by_their_first_images():
    hierarchy = LabelHierarchy(np.array([0, 1, 2, 4]), np.array([0, 9, 5, 9]), sources=1, fresh=10)
    assert hierarchy.clusters().tolist() == [0, 1, 0]
