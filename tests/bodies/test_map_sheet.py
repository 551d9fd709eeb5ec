"""Pictures of bodies and of fits: what stands where, and images that do not fit."""

import cv2
import numpy as np
import pytest
from PIL import Image

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.map_sheet import (
    bank_rows,
    fit_rows,
    over_image,
    plot_map_sheet,
    shaded,
)


@pytest.fixture
def fits():
    poses = np.zeros((2, 24, 3))
    poses[:, 0, 0] = np.pi  # upright in camera axes
    return BodyFits(
        ["a.jpg", "b.jpg"],
        np.zeros((2, 10)),
        poses,
        np.tile([0.0, 0.3, 4.0], (2, 1)),
        [120, 120],
        np.tile([16.0, 32.0], (2, 1)),
        np.tile([64, 32], (2, 1)),
    )


def test_a_sheet_shows_the_body_and_three_maps_side_by_side(body, tmp_path):
    rows = bank_rows(["gait", "unusual"], 2, body, (64, 32), seed=3)
    assert [row.label.split(",")[0] for row in rows] == ["gait_0000", "unusual_0000"]
    sheet = cv2.imread(str(plot_map_sheet(rows, body, tmp_path / "s.png", ["two"])))[..., ::-1]
    maps = rows[0].request.render(body)
    assert sheet.shape[1] == 6 + 4 * 32 + 3 * 6 + 6
    top = 6 + 3 * (18 + 6)  # title, label and names stand above
    for i, tile in enumerate([shaded(maps), None, maps.normal, maps.skeleton]):
        left = 6 + i * (32 + 6)
        if tile is None:
            tile = np.repeat(maps.depth[..., None], 3, axis=2)
        np.testing.assert_array_equal(sheet[top : top + 64, left : left + 32], tile)


def test_equal_seeds_choose_equal_rows(body):
    first = bank_rows(["gait"], 1, body, (64, 32), seed=1)[0]
    again = bank_rows(["gait"], 1, body, (64, 32), seed=1)[0]
    other = bank_rows(["gait"], 1, body, (64, 32), seed=2)[0]
    assert first.label == again.label != other.label
    np.testing.assert_array_equal(first.request.pose, again.request.pose)


def test_light_comes_from_the_upper_left(body):
    maps = bank_rows(["gait"], 1, body, (128, 64), seed=0)[0].request.render(body)
    lit = shaded(maps)
    assert (lit[~maps.mask] == 255).all()
    left = maps.mask & (maps.normal[..., 0] < 60)
    right = maps.mask & (maps.normal[..., 0] > 195)
    assert lit[left].mean() > lit[right].mean() + 20


def test_a_fit_lies_over_its_image(body, fits, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (32, 64), (0, 255, 0)).save(tmp_path / name)
    row = fit_rows(fits, tmp_path, 1)[0]
    assert row.image.shape == (256, 128, 3)
    maps = row.request.render(body)
    assert maps.mask.shape == (256, 128)
    mixed = over_image(row.image, maps)
    np.testing.assert_array_equal(mixed[~maps.mask], row.image[~maps.mask])
    assert (mixed[maps.mask] != row.image[maps.mask]).any(axis=1).all()


def test_images_that_do_not_belong_to_the_fits_are_named(fits, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg"):
        fit_rows(fits, tmp_path, 1)
    Image.new("RGB", (64, 128)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"to be 64 x 32 pixels as its fit has it, got 128 x 64"):
        fit_rows(fits, tmp_path, 1)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.jpg, which cannot be decoded; restore the file"):
        fit_rows(fits, tmp_path, 1)
