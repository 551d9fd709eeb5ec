"""Each mistake in body fits is found and named, and none where there is none."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.fits_check import fits_problems, misplaced_rows
from fastreid_ext.bodies.upright import posture, tilts_deg

COUNT = 4
POSES = np.zeros((COUNT, 24, 3))
POSES[:, 0, 0] = np.pi  # upright in camera axes
RIGHT = {
    "file_names": [f"{i}.jpg" for i in range(COUNT)],
    "betas": np.zeros((COUNT, 10)),
    "poses": POSES,
    "translations": np.tile([0.0, 0.3, 4.0], (COUNT, 1)),
    "focal_px": np.full(COUNT, 120.0),
    "centre_px": np.tile([16.0, 32.0], (COUNT, 1)),
    "image_sizes": np.tile([64, 32], (COUNT, 1)),
}


def changed(key, rows, value):
    array = np.array(RIGHT[key], dtype=float)
    array[rows] = value
    return {key: array}


def turned(angle, axis):
    poses = POSES.copy()
    turn = Rotation.from_euler(axis, angle, degrees=True)
    poses[:, 0] = (turn * Rotation.from_rotvec(POSES[:, 0])).as_rotvec()
    return {"poses": poses}


def test_right_fits_have_no_problem():
    assert fits_problems(BodyFits(**RIGHT)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (changed("poses", (1, 3), np.nan), "1 of 4 fits: NaN or infinity (1.jpg); leave"),
        ({"poses": np.degrees(POSES)}, "are they in degrees? Save radians"),
        (changed("betas", (0, 2), 12), "betas beyond 10 standard deviations (0.jpg)"),
        (changed("focal_px", slice(None), -1), "4 of 4 fits: a focal length that is not positive"),
        (changed("image_sizes", 2, 0), "an image size that is not positive (2.jpg)"),
        (turned(180, "x"), "(0.jpg, 1.jpg, 2.jpg, ...); the poses seem to be in axes with y up"),
        (turned(90, "x"), "the poses seem to be in the axes of a world with z up"),
        (changed("translations", slice(None), [0, 0, -4]), "behind or around the camera"),
        (changed("translations", slice(None), [0, 300, 4000]), "millimetres? Save metres"),
        (changed("translations", slice(None), [0, 0.3, 60]), "less than 15% of the image tall"),
        (changed("focal_px", slice(None), 3000), "more than 4 images tall"),
        (changed("centre_px", 3, [300, 32]), "outside the image (fewer than 25% of its joints"),
    ],
)
def test_each_mistake_is_named(changes, message):
    problems = fits_problems(BodyFits(**{**RIGHT, **changes}))
    assert len(problems) == 1, problems
    assert message in problems[0]


def test_single_lying_persons_are_not_taken_for_other_axes():
    poses = POSES.copy()
    poses[1] = turned(90, "x")["poses"][1]
    (problem,) = fits_problems(BodyFits(**{**RIGHT, "poses": poses}))
    assert "the person lies (1.jpg); leave these out if the people do not really lie" in problem


def picture(width, height):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def test_images_that_show_nothing_or_are_damaged_are_named(tmp_path):
    for name in ("0.jpg", "1.jpg"):
        picture(32, 64).save(tmp_path / name)
    Image.new("RGB", (32, 64), (90, 120, 60)).save(tmp_path / "2.jpg")
    (tmp_path / "3.jpg").write_bytes((tmp_path / "0.jpg").read_bytes()[:100])
    damaged, empty = fits_problems(BodyFits(**RIGHT), tmp_path)
    assert "1 of 4 fits: the image cannot be read (3.jpg); bring it again" in damaged
    assert "1 of 4 fits: the image is nearly of one colour, so it shows no person (2.jpg)" in empty


def test_misplaced_rows_are_those_of_the_rules_of_place():
    assert not misplaced_rows(BodyFits(**RIGHT)).any()
    outside = changed("centre_px", 1, [300, 32])
    behind = changed("translations", 2, [0, 0, -4])
    fits = BodyFits(**RIGHT | outside | behind | changed("betas", 3, np.nan))
    assert misplaced_rows(fits).tolist() == [False, True, True, True]


def test_images_and_fits_are_compared(tmp_path):
    for name in ("0.jpg", "1.jpg", "9.jpg"):
        picture(32, 64).save(tmp_path / name)
    picture(64, 128).save(tmp_path / "2.jpg")
    missing, size, without = fits_problems(BodyFits(**RIGHT), tmp_path)
    assert "1 of 4 fits: no such image in" in missing
    assert "(3.jpg)" in missing
    assert "image_sizes (height x width) are 64x32 instead of 128x64 (2.jpg)" in size
    assert without.startswith("1 of 4 images have no fit (9.jpg)")


@pytest.mark.parametrize(("tilt", "name"), [(20, "upright"), (90, "lying"), (175, "upside down")])
def test_postures_have_names(tilt, name):
    pose = np.zeros((1, 24, 3))
    pose[0, 0, 0] = np.radians(tilt)
    assert posture(tilts_deg(pose)[0]) == name
