"""Which images stand for each identity and camera in a trial."""

import random

import numpy as np
import pytest
from scipy.io import savemat

from fastreid_ext.evaluation.visible_infrared import (
    official_draws,
    read_permutations,
    seeded_draws,
)

# Identities 2 and 11 in cameras 1 and 4, listed in no order.
PIDS = [11, 2, 2, 2, 11, 11, 2]
CAMERAS = [4, 1, 1, 4, 1, 4, 1]
NAMES = ["0002.jpg", "0003.jpg", "0001.jpg", "0005.jpg", "0001.jpg", "0001.jpg", "0002.jpg"]
GROUPS = [[2, 6, 1], [3], [4], [5, 0]]  # by identity, camera and name


def test_seeded_draws_are_those_of_pythons_seed():
    draws = seeded_draws(PIDS, CAMERAS, NAMES, trials=10)
    for trial, draw in enumerate(draws):
        random.seed(trial)
        assert draw.tolist() == [random.choice(group) for group in GROUPS]
    assert len({tuple(draw) for draw in draws}) > 2


def test_ten_shots_take_all_where_there_are_fewer():
    (draw,) = seeded_draws(PIDS, CAMERAS, NAMES, trials=1, shots=2)
    chosen = [set(draw[:2].tolist()), *draw[2:].tolist()]
    assert chosen[0] < set(GROUPS[0])
    assert sorted(chosen[1:]) == [0, 3, 4, 5]


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    cameras = np.empty((6, 1), object)
    for camera in range(6):
        identities = np.empty((12, 1), object)
        for pid in range(12):
            count = sum((p, c) == (pid + 1, camera + 1) for p, c in zip(PIDS, CAMERAS, strict=True))
            orders = [rng.permutation(count) + 1 for _ in range(10)]
            identities[pid, 0] = np.array(orders).reshape(10, count)
        cameras[camera, 0] = identities
    savemat(tmp_path / "rand_perm_cam.mat", {"rand_perm_cam": cameras})
    return tmp_path / "rand_perm_cam.mat"


NUMBERED = ["0002.jpg", "0003.jpg", "0001.jpg", "0001.jpg", "0001.jpg", "0001.jpg", "0002.jpg"]


@pytest.mark.parametrize("shots", [1, 10])
def test_official_draws_take_the_first_of_each_permutation(file, shots):
    permutations = read_permutations(file)
    draws = official_draws(PIDS, CAMERAS, NUMBERED, permutations, shots=shots)
    numbers = [int(name[:4]) for name in NUMBERED]
    for trial, draw in enumerate(draws):
        expected = []
        for group in GROUPS:
            order = permutations[CAMERAS[group[0]], PIDS[group[0]]][trial]
            for number in order[:shots]:
                expected += [row for row in group if numbers[row] == number]
        assert draw.tolist() == expected
    assert len({tuple(draw) for draw in draws}) > 1


def test_a_permutation_file_of_another_set_is_refused(file, tmp_path):
    permutations = read_permutations(file)
    with pytest.raises(ValueError, match="draws image 1 of identity 2 in camera 4, which does not"):
        official_draws(PIDS, CAMERAS, NAMES, permutations)
    with pytest.raises(ValueError, match="10 permutations of the images of identity 5 in camera 1"):
        official_draws([5], [1], ["0001.jpg"], permutations)
    bad = tmp_path / "bad.mat"
    bad.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad.mat: expected SYSU-MM01's permutations"):
        read_permutations(bad)


def test_no_trials_and_no_shots_are_refused():
    with pytest.raises(ValueError, match="expected trials >= 1, got 0"):
        seeded_draws(PIDS, CAMERAS, NAMES, trials=0)
    with pytest.raises(ValueError, match="expected shots >= 1, got 0"):
        seeded_draws(PIDS, CAMERAS, NAMES, shots=0)
