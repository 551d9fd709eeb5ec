"""Cameras of crops: scaling and cropping move pixels as they move images; placement."""

import numpy as np
import pytest

from fastreid_ext.bodies.cameras import from_viewpoint
from fastreid_ext.bodies.crop_camera import CropCamera, Placement, camera_around


@pytest.fixture
def posed(body):
    return body.pose(np.zeros(10), np.zeros((24, 3)))


@pytest.fixture
def camera(posed):
    return camera_around(posed, 40, 15, 100, 50)


def test_the_camera_of_a_whole_image_projects_as_it_does(posed):
    plain = from_viewpoint(10, 30, 4.0, focal_px=60, height=64, width=48)
    found = CropCamera.of(plain).project(posed.vertices)
    np.testing.assert_allclose(found, plain.project(posed.vertices), rtol=1e-5, atol=1e-4)


def test_scaling_and_cropping_move_pixels(camera, posed):
    before = camera.project(posed.joints)
    scaled = camera.resized(200, 25).project(posed.joints)
    np.testing.assert_allclose(scaled, before * [0.5, 2, 1], rtol=1e-5, atol=1e-4)
    cropped = camera.cropped(7, 3, 20, 30)
    moved = cropped.project(posed.joints)
    np.testing.assert_allclose(moved, before - [7, 3, 0], rtol=1e-4, atol=1e-3)
    assert (cropped.height, cropped.width) == (30, 20)


@pytest.mark.parametrize("azimuth", [0, 90, 180, 275])
def test_the_body_fills_its_share_of_the_crop(posed, azimuth):
    camera = camera_around(posed, azimuth, 20, 300, 200, Placement(0.8, 0.05, -0.02))
    pixels = camera.project(posed.vertices)
    low = pixels[:, :2].min(axis=0)
    high = pixels[:, :2].max(axis=0)
    share = max((high[1] - low[1]) / 300, (high[0] - low[0]) / 200)
    assert share == pytest.approx(0.8, abs=1e-3)
    np.testing.assert_allclose((low + high) / 2, [0.55 * 200, 0.48 * 300], atol=0.1)


def test_azimuth_90_sees_the_left_side(posed, body):
    """Of the two shoulders the left one is nearer."""
    camera = camera_around(posed, 90, 0, 100, 50)
    depth = camera.project(posed.joints)[:, 2]
    assert depth[16] < depth[17]  # left and right shoulder of SMPL


def test_sampled_placements_are_loose_and_sometimes_cut(rng):
    found = [Placement.sample(rng) for _ in range(500)]
    cut = [one for one in found if one.height_share > 1]
    assert 0.06 < len(cut) / len(found) < 0.18
    assert all(one.shift_y >= (one.height_share - 1) / 2 for one in cut)  # the head stays inside
    whole = [one.height_share for one in found if one.height_share <= 1]
    assert min(whole) > 0.82
    assert max(whole) < 0.98


@pytest.mark.parametrize("values", [{"height_share": 0.0}, {"distance_m": -1.0}])
def test_impossible_placements_are_refused(values):
    with pytest.raises(ValueError, match="height_share and distance_m above 0"):
        Placement(**values)


def test_a_camera_inside_the_body_is_refused(posed):
    with pytest.raises(ValueError, match=r"outside the body, got distance_m 0\.2; stand further"):
        camera_around(posed, 0, 0, 100, 50, Placement(distance_m=0.2))
