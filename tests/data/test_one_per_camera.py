"""Batches with an image from each camera of an identity."""

import itertools
from collections import Counter

import numpy as np

from fastreid_ext.data.one_per_camera import OnePerCamera, in_turns


def choices(cameras, instances, count=200):
    stream = OnePerCamera([0] * len(cameras), cameras, batch_size=instances, instances=instances)
    rng = np.random.default_rng(0)
    return [stream.choose(0, rng) for _ in range(count)]


def test_each_camera_comes_once_where_there_are_at_least_k():
    cameras = [90, 90, 7, 7, 7, 55, 2, 2, 2, 2]
    for chosen in choices(cameras, 3):
        assert len({cameras[image] for image in chosen}) == 3
    seen = Counter(cameras[image] for chosen in choices(cameras, 3, 2000) for image in chosen)
    assert all(1400 < count < 1600 for count in seen.values())  # 3 of 4 cameras, 2000 times
    images = Counter(image for chosen in choices(cameras, 4, 2000) for image in chosen)
    assert all(580 < images[image] < 750 for image in (2, 3, 4))  # a third of 2000 each


def test_rest_is_filled_without_repetitions_where_that_suffices():
    cameras = [0, 0, 0, 3]
    for chosen in choices(cameras, 4):
        assert sorted(chosen) == [0, 1, 2, 3]
        assert {cameras[image] for image in chosen[:2]} == {0, 3}


def test_rest_is_filled_with_repetitions_where_images_are_few():
    cameras = [0, 0, 5]
    for chosen in choices(cameras, 5):
        assert {cameras[image] for image in chosen[:2]} == {0, 5}
        left = ({0, 1} - set(chosen[:2])).pop()  # the other image of camera 0
        assert chosen[2:] == [left] * 3


def test_images_alone_in_their_cameras_are_chosen_with_repetitions():
    found = choices([4, 8], 4)
    assert all(len(chosen) == 4 and set(chosen) <= {0, 1} for chosen in found)
    assert Counter(tuple(sorted(chosen)) for chosen in found)[(0, 0, 0, 0)] < 40
    assert all(chosen == [0, 0, 0, 0] for chosen in choices([4], 4))


def stream_of(counts, *, world_size=1, **sizes):
    pids = [pid for pid, count in enumerate(counts) for _ in range(count)]
    cameras = [image % 3 for image in range(len(pids))]
    return pids, OnePerCamera(pids, cameras, world_size=world_size, **sizes)


def test_batches_hold_p_identities_of_k_images_each_and_none_comes_twice_in_a_pass():
    pids, stream = stream_of([5] * 11, batch_size=8, instances=2)
    images = list(itertools.islice(stream(3), 8 * 4))
    of_pass = []
    for batch in (images[:8], images[8:16]):
        found = [pids[image] for image in batch]
        assert found[::2] == found[1::2]
        of_pass += found[::2]
    assert len(set(of_pass)) == 8  # three of eleven are left out
    assert images != list(itertools.islice(stream(4), 8 * 4))
    assert images == list(itertools.islice(stream(3), 8 * 4))


def test_processes_get_complete_identities():
    pids, stream = stream_of([4] * 8, batch_size=4, instances=2, world_size=2)
    images = list(itertools.islice(stream(0), 8))
    for rank in (0, 1):
        own = [pids[image] for image in images[rank::2]]
        assert own[::2] == own[1::2]
    assert len({pids[image] for image in images}) == 4
    assert list(in_turns([[1, 2], [3, 4]], 1)) == [1, 2, 3, 4]
