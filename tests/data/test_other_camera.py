"""Sampler of images of other cameras: by hand, and what every pass must hold."""

import itertools

import numpy as np
import pytest

from fastreid_ext.data.other_camera import LeastUsed, OtherCamera
from fastreid_ext.data.sampler_checks import OTHER_CAMERA, batch_problems


def batches(stream, size, count, seed=0):
    indices = list(itertools.islice(stream(seed), size * count))
    return np.array(indices).reshape(count, size)


def test_other_images_are_of_other_cameras_than_the_first_one():
    """Cameras 0, 0, 1, 2 and K 4: after an image of camera 0 only those of cameras 1 and 2."""
    cameras = np.array([7, 7, 1, 300])
    stream = OtherCamera([5] * 4, cameras, batch_size=4, instances=4)
    rows = batches(stream, 4, 200)
    of_first = rows[cameras[rows[:, 0]] == 7]
    assert len(of_first) > 50
    assert set(of_first[:, 1:].ravel()) == {2, 3}
    assert set(rows[:, 0]) == {0, 1, 2, 3}


def test_images_of_one_camera_are_the_others_of_the_identity():
    stream = OtherCamera([0] * 5, [3] * 5, batch_size=4, instances=4)
    for row in batches(stream, 4, 100):
        assert len(set(row)) == 4


def test_lone_images_come_once_in_a_pass_and_identities_follow_each_other():
    pids = np.array([0] * 6 + [1] * 6 + [2] * 6 + [3, 4, 5])
    cameras = np.arange(21) % 3
    stream = OtherCamera(pids, cameras, batch_size=15, instances=4)
    for row in batches(stream, 15, 20):
        groups = [pid for pid, _ in itertools.groupby(pids[row])]
        assert sorted(groups) == [0, 1, 2, 3, 4, 5]
        assert sorted(np.bincount(pids[row])) == [1, 1, 1, 4, 4, 4]


def test_one_seed_repeats_and_processes_get_complete_identities():
    pids = np.repeat(np.arange(6), 4)
    cameras = np.tile([0, 1, 2, 3], 6)
    stream = OtherCamera(pids, cameras, batch_size=8, instances=4, world_size=2)
    rows = batches(stream, 16, 3)
    assert np.array_equal(rows, batches(stream, 16, 3))
    assert not np.array_equal(rows, batches(stream, 16, 3, seed=1))
    for row in rows:
        for share in (row[0::2], row[1::2]):
            assert (np.bincount(pids[share], minlength=6)[list(set(pids[share]))] == 4).all()
        assert len(set(pids[row])) == 4


def test_identities_that_fill_no_batch_are_refused():
    pids = [0, 0, 1, 2]
    with pytest.raises(ValueError, match="batches of 8 images, got 3 that give 6; lower"):
        OtherCamera(pids, [0] * 4, batch_size=8, instances=4)
    options = {"instances": 4, "world_size": 1, "has_length": True}
    (problem,) = batch_problems(OTHER_CAMERA, pids, batch_size=8, **options)
    assert "a pass over the 3 identities gives 6 images" in problem
    assert batch_problems(OTHER_CAMERA, pids, batch_size=4, **options) == []


def test_least_used_images_come_first_those_of_other_cameras_before_the_others():
    pids = np.repeat([0, 1], 8)
    cameras = np.tile([0, 0, 0, 0, 1, 1, 2, 2], 2)
    rows = batches(LeastUsed(pids, cameras, batch_size=8, instances=4), 8, 30)
    uses = np.zeros(16, int)
    for group in rows.reshape(-1, 4):
        own = np.flatnonzero(pids == pids[group[0]])
        assert uses[group[0]] == uses[own].min()
        others = own[cameras[own] != cameras[group[0]]]
        chosen = [image for image in group[1:] if image in others]
        assert len(set(group)) == 4
        assert len(chosen) == min(3, len(others))
        left = np.setdiff1d(others, chosen)
        assert not len(left) or uses[chosen].max() <= uses[left].min()
        uses[group] += 1


def test_least_used_repeats_few_images_and_gives_a_lone_one_once():
    pids = [0, 0, 1, 2, 2, 2]
    rows = batches(LeastUsed(pids, [0] * 6, batch_size=9, instances=4), 9, 10)
    for row in rows:
        uses = np.bincount(row, minlength=6)
        assert uses[:3].tolist() == [2, 2, 1]
        assert sorted(uses[3:]) == [1, 1, 2]
