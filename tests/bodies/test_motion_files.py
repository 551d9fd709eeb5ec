"""Files of motion: AMASS, AIST++, 4D-Humans and SMPL; axes, and what is refused."""

import bz2
import pickle
import sys
import types

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.hmr2_files import fits_from_hmr2
from fastreid_ext.bodies.motion_files import NotUprightError, read_motion


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


def pickled(path, content):
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("width", [72, 156, 165])
def test_body_joints_are_the_first_22_in_every_layout(tmp_path, rng, width):
    values = rng.normal(size=(5, width)) * 0.3
    motion = read_motion(write(tmp_path / "m.npz", poses=values), z_up=False, expect_upright=False)
    assert motion.poses.shape == (5, 24, 3)
    np.testing.assert_allclose(motion.poses[:, :22].reshape(5, 66), values[:, :66], atol=1e-12)
    assert (motion.poses[:, 22:] == 0).all()
    assert motion.frame_rate == 120


def test_z_up_files_are_turned_to_y_up(tmp_path):
    # Upright in AMASS: the body's y axis along world z, that is +90 degrees about x.
    upright = np.zeros((5, 156))
    upright[:, 0] = np.pi / 2
    up = np.tile([1.0, 2.0, 3.0], (5, 1))
    motion = read_motion(write(tmp_path / "m.npz", poses=upright, trans=up))
    np.testing.assert_allclose(Rotation.from_rotvec(motion.poses[:, 0]).magnitude(), 0, atol=1e-9)
    np.testing.assert_allclose(motion.translations[0], [1, 3, -2], atol=1e-12)


def test_either_name_of_the_frame_rate(tmp_path):
    path = write(tmp_path / "m.npz", mocap_framerate=None, mocap_frame_rate=60.0)
    assert read_motion(path, z_up=False).frame_rate == 60


def test_a_missing_file_says_where_they_come_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no motion file at .*amass\.is\.tue\.mpg\.de"):
        read_motion(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"poses": None}, r"the keys of a SMPL motion .* AMASS's shape\.npz files hold no motion"),
        (
            {"poses": np.zeros((5, 100))},
            r"n one of 72 \(SMPL\), 156 \(SMPL-H\), 165 \(SMPL-X\), got \(5, 100\)",
        ),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, r"expected poses \(T, n\)"),
        ({"trans": np.zeros((4, 3))}, r"expected trans \(5, 3\), got \(4, 3\)"),
        ({"betas": np.zeros(3)}, "at least 10 betas"),
        ({"poses": np.full((5, 156), 90.0)}, "in radians, got angles up to 156"),
        ({"trans": np.linspace(0, 3000, 15).reshape(5, 3)}, "in metres, got a path of"),
        ({"trans": np.full((5, 3), np.nan)}, "expected finite trans"),
    ],
)
def test_bad_files_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        read_motion(write(tmp_path / "m.npz", **changes))


def test_a_person_who_lies_is_noticed_and_told(tmp_path):
    """A file with z up that is read as one with y up, and the reverse."""
    upright = np.zeros((5, 156))
    upright[:, 0] = np.pi / 2
    with pytest.raises(NotUprightError, match=r"who is lying .* if its vertical axis .* set z_up"):
        read_motion(write(tmp_path / "m.npz", poses=upright), z_up=False)
    upside_down = np.zeros((5, 156))
    upside_down[:, 0] = np.pi
    with pytest.raises(NotUprightError, match="upside down"):
        read_motion(write(tmp_path / "m.npz", poses=upside_down), z_up=False)


def test_aist_files_have_centimetres_scaled_and_y_up(tmp_path):
    content = {
        "smpl_poses": np.zeros((3, 72)),
        "smpl_trans": np.tile([0.0, 180.0, 90.0], (3, 1)),
        "smpl_scaling": np.array([90.0]),
    }
    motion = read_motion(pickled(tmp_path / "gBR.pkl", content))
    np.testing.assert_allclose(motion.translations[0], [0, 2, 1])
    assert motion.frame_rate == 60
    del content["smpl_scaling"]
    with pytest.raises(ValueError, match=r"of AIST\+\+, missing \['smpl_scaling'\]"):
        read_motion(pickled(tmp_path / "gBR.pkl", content))


def hmr2(**changes):
    """Two upright persons; the first fills its box, which is the middle of the image."""
    content = {
        "img_name": np.array(["0001_c1.jpg", "0002_c1.jpg"]),
        "global_orient": np.tile(np.diag([1.0, -1.0, -1.0]), (2, 1, 1, 1)),
        "body_pose": np.tile(np.eye(3), (2, 23, 1, 1)),
        "betas": np.zeros((2, 10)),
        "pred_cam": np.array([[0.9, 0.0, 0.0], [0.9, 0.1, 0.2]]),
        "box_center": np.array([[32.0, 64.0], [20.0, 60.0]]),
        "box_size": np.array([128.0, 128.0]),
        "img_size": np.tile([64.0, 128.0], (2, 1)),
    }
    content |= changes
    return {key: value for key, value in content.items() if value is not None}


def test_hmr2_results_are_motions_in_upright_axes(tmp_path):
    np.savez(tmp_path / "m.npz", **hmr2())
    motion = read_motion(tmp_path / "m.npz")
    np.testing.assert_allclose(Rotation.from_rotvec(motion.poses[:, 0]).magnitude(), 0, atol=1e-6)


def test_hmr2_cameras_see_the_body_as_its_weak_perspective_does(tmp_path):
    """A point of the pelvis at (x, y) metres falls on box_center + scale * box / 2 * (x, y)."""
    np.savez(tmp_path / "m.npz", **hmr2())
    fits = fits_from_hmr2(tmp_path / "m.npz", lambda name: f"train/{name}")
    assert isinstance(fits, BodyFits)
    assert fits.file_names.tolist() == ["train/0001_c1.jpg", "train/0002_c1.jpg"]
    pixels = np.array([fits.camera(i).project(fits.translations[i][None])[0] for i in range(2)])
    weak = np.array([[32.0, 64.0], [20 + 0.9 * 64 * 0.1, 60 + 0.9 * 64 * 0.2]])
    np.testing.assert_allclose(pixels[:, :2], weak, atol=0.5)


def test_the_trackers_largest_person_is_taken(tmp_path):
    one = {
        "global_orient": np.diag([1.0, -1.0, -1.0])[None],
        "body_pose": np.tile(np.eye(3), (23, 1, 1)),
        "betas": np.zeros(10),
    }
    frame = {
        "smpl": [{**one, "betas": np.full(10, 9.0)}, one],
        "camera": [np.array([0, 0, 5.0]), np.array([0.1, 0.2, 6.0])],
        "size": [np.array([128, 64]), np.array([128, 64])],
        "bbox": [[0, 0, 5, 5], [0, 0, 60, 120]],
    }
    fits = fits_from_hmr2(pickled(tmp_path / "t.pkl", {"0001.jpg": frame}))
    assert fits.betas.max() == 0
    np.testing.assert_allclose(fits.translations, [[0.1, 0.2, 6.0]])
    np.testing.assert_array_equal(fits.image_sizes, [[128, 64]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"body_pose": np.tile(np.eye(3), (2, 21, 1, 1))},
            "body_pose with 23 rotations",
        ),
        ({"img_name": None}, "expected names of the images"),
        ({"pred_cam": None}, "to place the bodies; save them, too"),
        ({"global_orient": np.full((2, 1, 3, 3), np.nan)}, "finite global_orient"),
        ({"box_size": np.zeros(2)}, "a positive scale in pred_cam and a positive box_size"),
    ],
)
def test_incomplete_hmr2_results_are_refused(changes, message, tmp_path):
    np.savez(tmp_path / "m.npz", **hmr2(**changes))
    with pytest.raises(ValueError, match=message):
        fits_from_hmr2(tmp_path / "m.npz")


def test_chumpy_and_compressed_pickles_are_refused_with_the_way_to_convert(tmp_path, monkeypatch):
    module = types.ModuleType("chumpy")
    module.Ch = type("Ch", (), {"__module__": "chumpy"})
    monkeypatch.setitem(sys.modules, "chumpy", module)
    content = {"smpl_poses": module.Ch(), "smpl_trans": np.zeros((1, 3))}
    path = pickled(tmp_path / "c.pkl", content)
    with pytest.raises(ValueError, match=r"got chumpy objects; .* save np\.array\(value\) of each"):
        read_motion(path)
    (tmp_path / "j.pkl").write_bytes(bz2.compress(b"any"))
    with pytest.raises(ValueError, match=r"joblib file, .*joblib\.load\('j\.pkl'\), open"):
        read_motion(tmp_path / "j.pkl")
