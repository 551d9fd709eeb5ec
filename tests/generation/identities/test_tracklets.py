"""Sequences, frames and tracklets from file names."""

import dataclasses

import pytest

from fastreid_ext.generation.identities.tracklets import (
    frames_of,
    in_order,
    longest_tracklet,
    round_robin,
)


@dataclasses.dataclass(frozen=True)
class Shot:
    camera: int
    frame: int
    sequence: str = "1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0002_c1s1_000451_03.jpg", ("1", 451)),
        ("Market-1501-v15.09.15/bounding_box_train/0002_c6s12_000451_03.jpg", ("12", 451)),
        ("0001_c2_f0046182.jpg", ("", 46182)),
        ("MSMT17_V1/train/0000/0000_003_01_0303morning_0015_2.jpg", ("0303morning", 15)),
    ],
)
def test_names_of_known_data_sets_tell_sequence_and_frame(name, expected):
    assert frames_of([name]) == [expected]


def test_other_names_are_counted_in_natural_order():
    assert frames_of(["1_10.png", "1_9.png", "1_100.png"]) == [("", 1), ("", 0), ("", 2)]


def test_order_is_by_camera_sequence_and_frame():
    shots = [Shot(1, 5), Shot(0, 7, "10"), Shot(0, 9, "2"), Shot(0, 3, "10")]
    assert in_order(shots) == [shots[2], shots[3], shots[1], shots[0]]


def test_longest_is_the_camera_with_most_images_and_the_lower_of_equals():
    shots = [Shot(2, 3), Shot(2, 1), Shot(1, 9), Shot(1, 8), Shot(0, 1)]
    assert longest_tracklet(shots, 0) == [Shot(1, 8), Shot(1, 9)]
    assert longest_tracklet([], 0) == []


def test_gaps_and_sequences_split_a_camera():
    shots = [Shot(0, frame) for frame in (1, 2, 30, 40, 50)] + [Shot(0, 55, "2")]
    assert [shot.frame for shot in longest_tracklet(shots, 10)] == [30, 40, 50]
    assert len(longest_tracklet(shots, 0)) == 6
    # At 9 there are only pieces of two and one; the first of the longest wins.
    assert [shot.frame for shot in longest_tracklet(shots, 9)] == [1, 2]


def test_round_robin_takes_one_of_each_camera_in_turn():
    shots = [Shot(0, 1), Shot(0, 2), Shot(0, 3), Shot(1, 4), Shot(2, 5), Shot(2, 6)]
    assert round_robin(shots, 4) == [Shot(0, 1), Shot(0, 2), Shot(1, 4), Shot(2, 5)]
    assert round_robin(shots, 0) == shots
