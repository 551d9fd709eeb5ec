"""Which camera joins next, and how long a stage is."""

import numpy as np
import pytest
import torch

from fastreid_ext.engine.camera_curriculum import (
    nearest_camera,
    sample_rows,
    stage_lengths,
    stage_of,
)
from fastreid_ext.engine.curriculum_labels import renumbered


@pytest.mark.parametrize(
    ("cameras", "epochs", "share", "expected"),
    [
        (6, 50, 0.4, [4, 4, 4, 4, 4, 30]),
        (15, 50, 0.4, [2] * 6 + [1] * 8 + [30]),
        (6, 6, 0.4, [1] * 6),
        (2, 4, 0.4, [2, 2]),
        (3, 10, 0.0, [1, 1, 8]),
    ],
)
def test_stages_share_the_epochs(cameras, epochs, share, expected):
    lengths = stage_lengths(cameras, epochs, share)
    assert lengths == expected
    stages = [stage_of(epoch, lengths) for epoch in range(epochs)]
    assert [stages.count(stage) for stage in range(cameras)] == expected
    assert stages == sorted(stages)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_cameras_join_by_their_distance_from_the_source(kernel):
    torch.manual_seed(0)
    source = torch.randn(40, 3)
    cameras = {number: torch.randn(30, 3) + shift for number, shift in enumerate((2.0, 0.2, 1.0))}
    order = []
    while len(order) < 3:
        order.append(nearest_camera(source, cameras, order, kernel=kernel))
    assert order == [1, 2, 0]


def test_of_equal_cameras_the_first_joins():
    source = torch.randn(5, 2)
    same = torch.randn(4, 2)
    assert nearest_camera(source, {2: same, 0: same, 1: same}, []) == 0
    assert nearest_camera(source, {2: same, 0: same, 1: same}, [0]) == 1


def test_sampled_rows_are_repeated_and_in_their_order():
    rows = sample_rows(torch.arange(100), 10, seed=0)
    assert torch.equal(rows, sample_rows(torch.arange(100), 10, seed=0))
    assert torch.equal(rows, rows.sort().values)
    assert len(rows.unique()) == 10
    assert torch.equal(sample_rows(torch.arange(9), 10, seed=0), torch.arange(9))


def test_clusters_that_are_left_are_numbered_again():
    assert renumbered(np.array([-1, -1])).tolist() == [-1, -1]
    assert renumbered(np.array([3, 1, 3])).tolist() == [1, 0, 1]
