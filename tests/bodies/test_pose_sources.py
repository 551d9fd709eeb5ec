"""Poses and viewpoints to ask a generator for."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.motion_files import NotUprightError
from fastreid_ext.bodies.pose_sources import (
    canonical_poses,
    pose_bank,
    random_view,
    without_heading,
)

from .test_motion_files import write


def facing_of(pose):
    """Direction in the ground plane that the pelvis faces, in degrees from +z."""
    x, _, z = Rotation.from_rotvec(pose[0]).apply([0, 0, 1])
    return np.degrees(np.arctan2(x, z))


def test_banks_are_shared_evenly_and_repeat():
    bank = pose_bank(["gait", "unusual"], 5, seed=3)
    assert [one.name.split("_")[0] for one in bank] == ["gait"] * 3 + ["unusual"] * 2
    again = pose_bank(["gait", "unusual"], 5, seed=3)
    other = pose_bank(["gait", "unusual"], 5, seed=4)
    assert all((one.pose == two.pose).all() for one, two in zip(bank, again, strict=True))
    assert not (bank[0].pose == other[0].pose).all()
    assert max(abs(facing_of(one.pose)) for one in bank) < 1e-6


def test_a_turned_pose_loses_its_heading_and_nothing_else():
    pose = np.full((24, 3), 0.1)
    pose[0] = [0, 2.0, 0]
    found = without_heading(pose)
    np.testing.assert_allclose(found[0], 0, atol=1e-12)
    assert (found[1:] == pose[1:]).all()


def test_frames_come_from_motion_files_and_folders(tmp_path, rng):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.npz", poses=rng.normal(size=(5, 156)) * 0.05, betas=np.zeros(16))
    bank = pose_bank([tmp_path / "a.npz"], 3, seed=0, z_up=False)
    assert len({one.name for one in bank}) == 3
    assert all(one.name.startswith("a_") for one in bank)
    both = pose_bank([tmp_path], 4, seed=0, z_up=False)
    assert sorted(one.name[0] for one in both) == ["a", "a", "b", "b"]


def test_more_poses_than_frames_are_refused(tmp_path):
    write(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="at most 5 poses of the motion a, got 6; add sources"):
        pose_bank([tmp_path / "a.npz"], 6, seed=0, z_up=False)


def test_lying_motions_of_a_folder_are_left_out_and_told(tmp_path, caplog):
    lying = np.zeros((5, 156))
    lying[:, 0] = np.pi / 2
    write(tmp_path / "a.npz")
    write(tmp_path / "b.npz", poses=lying)
    bank = pose_bank([tmp_path], 4, seed=0, z_up=False)
    assert all(one.name.startswith("a_") for one in bank)
    assert "left out:" in caplog.text
    (tmp_path / "a.npz").unlink()
    with pytest.raises(NotUprightError):
        pose_bank([tmp_path], 4, seed=0, z_up=False)


def test_unknown_sources_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no poses at .*; expected one of gait, unusual"):
        pose_bank([tmp_path], 2, seed=0)
    with pytest.raises(ValueError, match="at least one source and one pose"):
        pose_bank([], 2, seed=0)


def test_views_are_uniform_within_their_limits(rng):
    views = np.array([random_view(rng) for _ in range(4000)])
    assert views[:, 0].min() >= 0
    assert views[:, 0].max() < 360
    counts = np.histogram(views[:, 0], bins=12, range=(0, 360))[0]
    assert (np.abs(counts - 4000 / 12) < 90).all()  # five standard deviations
    assert 14 < views[:, 1].mean() < 16


def test_canonical_poses_are_four_views_of_one_step():
    found = canonical_poses()
    assert [(one.name, azimuth) for one, azimuth, _ in found] == [
        ("front", 0.0),
        ("left", 90.0),
        ("back", 180.0),
        ("right", 270.0),
    ]
    assert all((one.pose == found[0][0].pose).all() for one, _, _ in found)
