"""AMASS-style files: layouts, axes, and what is refused."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.motion_files import load_motion


def write(path, **changes):
    frames = 5
    arrays = {
        "poses": np.zeros((frames, 156)),
        "trans": np.zeros((frames, 3)),
        "betas": np.zeros(16),
        "mocap_framerate": 120.0,
    }
    arrays.update(changes)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.mark.parametrize("width", [72, 156, 165])
def test_body_joints_are_the_first_22_in_every_layout(tmp_path, rng, width):
    values = rng.normal(size=(5, width)) * 0.3
    motion = load_motion(write(tmp_path / "m.npz", poses=values), z_up=False)
    assert motion.poses.shape == (5, 24, 3)
    np.testing.assert_allclose(motion.poses[:, :22].reshape(5, 66), values[:, :66], atol=1e-12)
    assert (motion.poses[:, 22:] == 0).all()
    assert motion.frame_rate == 120


def test_z_up_files_are_turned_to_y_up(tmp_path):
    # Upright in AMASS: the body's y axis along world z, that is +90 degrees about x.
    upright = np.zeros((5, 156))
    upright[:, 0] = np.pi / 2
    up = np.tile([1.0, 2.0, 3.0], (5, 1))
    motion = load_motion(write(tmp_path / "m.npz", poses=upright, trans=up))
    np.testing.assert_allclose(Rotation.from_rotvec(motion.poses[:, 0]).magnitude(), 0, atol=1e-9)
    np.testing.assert_allclose(motion.translations[0], [1, 3, -2], atol=1e-12)


def test_either_name_of_the_frame_rate(tmp_path):
    path = write(tmp_path / "m.npz", mocap_framerate=None, mocap_frame_rate=60.0)
    assert load_motion(path).frame_rate == 60


def test_a_missing_file_says_where_they_come_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no motion file at .*amass\.is\.tue\.mpg\.de"):
        load_motion(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"poses": None}, r"missing \['poses'\]"),
        (
            {"poses": np.zeros((5, 100))},
            r"n one of 72 \(SMPL\), 156 \(SMPL-H\), 165 \(SMPL-X\), got \(5, 100\)",
        ),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, r"expected poses \(T, n\)"),
        ({"trans": np.zeros((4, 3))}, r"expected trans \(5, 3\), got \(4, 3\)"),
        ({"betas": np.zeros(3)}, "at least 10 betas"),
        ({"mocap_framerate": None}, "expected mocap_framerate or mocap_frame_rate"),
        ({"trans": np.full((5, 3), np.nan)}, "expected finite trans"),
    ],
)
def test_bad_files_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        load_motion(write(tmp_path / "m.npz", **changes))
