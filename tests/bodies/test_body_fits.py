"""The file of body fits: round trip, cameras, and files of another kind."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.body_fits import FITS_FILE, BodyFits

PLAIN = {
    "file_names": ["a.jpg", "b.jpg"],
    "betas": np.zeros((2, 10)),
    "poses": np.tile([[[np.pi, 0, 0]] + 23 * [[0, 0, 0]]], (2, 1, 1)).astype(float),
    "translations": np.tile([0.0, 0.0, 4.0], (2, 1)),
    "focal_px": np.array([100.0, 120.0]),
    "centre_px": np.tile([16.0, 32.0], (2, 1)),
    "image_sizes": np.tile([64, 32], (2, 1)),
}


def fits(**changes):
    return BodyFits(**{**PLAIN, **changes})


def test_fits_are_read_as_written(tmp_path):
    written = fits(pose_names=["walking", "phone"], azimuth_deg=[10.0, 350.0], elevation_deg=[5, 6])
    written.write(tmp_path / FITS_FILE)
    found = BodyFits.read(tmp_path)  # the folder of the data set
    for key in (*PLAIN, "pose_names", "azimuth_deg", "elevation_deg"):
        np.testing.assert_array_equal(getattr(found, key), getattr(written, key))
    assert fits().azimuth_deg is None
    assert (len(found), "b.jpg" in found, found.index("b.jpg")) == (2, True, 1)


def test_equal_focal_lengths_may_be_given_once():
    np.testing.assert_array_equal(fits().focal_px, [[100, 100], [120, 120]])


def test_the_body_is_where_the_camera_of_its_image_sees_it(body):
    one = fits().request(0)
    maps = one.render(body)
    assert maps.mask.shape == (64, 32)
    _, columns = np.nonzero(maps.mask)
    assert columns.mean() == pytest.approx(16, abs=2)
    half = fits().request(0, height=32, width=16).render(body)
    assert half.mask.sum() == pytest.approx(maps.mask.sum() / 4, rel=0.1)


def test_viewpoints_are_those_of_the_file_or_of_the_pelvis():
    """The first body faces the camera, the second shows its left side."""
    poses = PLAIN["poses"].copy()
    np.testing.assert_allclose(fits().viewpoint(0), (0, 0), atol=1e-6)
    # The body turns its left to the camera: a turn of -90 degrees about its own vertical.
    turned = Rotation.from_rotvec([np.pi, 0, 0]) * Rotation.from_euler("y", -90, degrees=True)
    poses[1, 0] = turned.as_rotvec()
    np.testing.assert_allclose(fits(poses=poses).viewpoint(1), (90, 0), atol=1e-6)
    known = fits(azimuth_deg=[-10.0, 5.0], elevation_deg=[20.0, 30.0])
    assert known.viewpoint(0) == (350.0, 20.0)


def test_a_subset_keeps_the_order_asked_for():
    assert fits().subset([1, 0]).file_names.tolist() == ["b.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": np.zeros((2, 22, 3))}, r"poses of shape \(2, 24, 3\), got \(2, 22, 3\); SMPL"),
        ({"betas": np.zeros((1, 10))}, "save one row for each of the 2 file_names"),
        ({"file_names": ["a.jpg", "a.jpg"]}, r"one fit per image, got several for a\.jpg"),
    ],
)
def test_other_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fits(**changes)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": np.zeros((5, 156)), "mocap_framerate": 60.0}, "this looks like an AMASS motion"),
        ({**PLAIN, "pred_cam": np.zeros(3)}, "looks like a result of 4D-Humans, which"),
        ({"v_template": np.zeros(3)}, "this looks like a body model"),
        (
            {**PLAIN, "poses": np.array([{}, {}])},
            "save names as str and everything",
        ),
    ],
)
def test_files_of_another_kind_are_named(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        BodyFits.read(tmp_path / "x.npz")


def test_missing_fits_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no body fits at .*; docs/body_fits\.md says how"):
        BodyFits.read(tmp_path)
    with pytest.raises(KeyError, match=r"no body fit of c\.jpg"):
        fits().index("c.jpg")
