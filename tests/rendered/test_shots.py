"""Shots: angles by hand, and the distributions that the code states."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from fastreid_ext.rendered.difficulty import difficulty
from fastreid_ext.rendered.domains import camera_specs
from fastreid_ext.rendered.shots import FRONT_DEG, as_front_walker, sample_shot
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH, View

COUNT = 400


def untraced(domain, camera):
    """A view without pictures of its scene, which shots do not look at."""
    spec = camera_specs(domain)[camera]
    names = [field.name for field in dataclasses.fields(View)]
    values = dict.fromkeys(names) | {"spec": spec, "focal": spec.focal * FRAME_HEIGHT}
    return View(**values)


@functools.cache
def shots(level="hard", domain="RenderedCampus", camera=0, companions=12, count=COUNT):
    rng = np.random.default_rng(3)
    place = untraced(domain, camera)
    level = difficulty(level)
    return [sample_shot(place, "none", companions, rng, level=level) for _ in range(count)]


def values(name, found):
    return np.array([getattr(shot, name) for shot in found])


def moved(**changes):
    return dataclasses.replace(shots()[0], **changes)


@pytest.mark.parametrize(
    ("x", "z", "yaw"), [(0, 6, 0.3), (2, 5, 2.0), (-1.5, 8, -2.5), (3, 4, 6.0)]
)
def test_azimuth_is_the_cameras_direction_in_the_bodys_own_axes(x, z, yaw):
    forward = np.array([math.sin(yaw), math.cos(yaw)])  # x and z of where the body looks
    left = np.array([math.cos(yaw), -math.sin(yaw)])
    camera = -np.array([x, z])
    expected = math.degrees(math.atan2(camera @ left, camera @ forward))
    assert moved(x=x, z=z, yaw=yaw).azimuth_deg() == pytest.approx(expected)


def test_azimuth_stays_in_its_half_open_range():
    assert moved(x=0.0, z=5.0, yaw=0.0).azimuth_deg() == 180.0
    found = [shot.azimuth_deg() for shot in shots(camera=4, count=100)]
    assert -180 < min(found) < -90
    assert 90 < max(found) <= 180


def test_elevation_is_45_degrees_from_as_high_as_far():
    """Seen is the middle of the body, 0.9 m above the ground."""
    assert moved(x=3.0, z=4.0).elevation_deg(5.9) == pytest.approx(45.0)
    assert moved(x=0.0, z=4.0).elevation_deg(0.9) == 0.0


@pytest.mark.parametrize("camera", range(6))
def test_bodies_stand_between_near_and_far_and_inside_the_frame(camera):
    found = shots(camera=camera, count=100)
    place = untraced("RenderedCampus", camera)
    x = values("x", found)
    z = values("z", found)
    assert place.spec.near <= z.min() < z.max() <= place.spec.far
    assert np.abs(x).max() <= 3.0
    assert (np.abs(x / z * place.focal) <= 0.36 * FRAME_WIDTH + 1e-6).all()


def test_distances_are_uniform():
    spec = camera_specs("RenderedCampus")[0]
    share = (values("z", shots()) - spec.near) / (spec.far - spec.near)
    assert np.sort(share) == pytest.approx((np.arange(COUNT) + 0.5) / COUNT, abs=0.07)


def test_headings_scatter_about_the_cameras_usual_one():
    """Camera 1 of the campus: 0 is towards the camera, a yaw of half a turn, within 35 degrees."""
    turn = np.degrees(values("yaw", shots())) - 180
    assert turn.mean() == pytest.approx(0, abs=5)
    assert turn.std() == pytest.approx(35, rel=0.1)
    away = np.degrees(values("yaw", shots(camera=1, count=100)))
    assert away.mean() == pytest.approx(0, abs=8)


def test_a_cloud_takes_the_sun_of_one_picture_in_five():
    spec = camera_specs("RenderedCampus")[0]
    share = values("sun", shots()) / spec.sun[2]
    fill = values("fill", shots())
    cloudy = share < 0.5
    assert cloudy.mean() == pytest.approx(0.22, abs=0.05)
    assert 0.1 <= share.min() < share[cloudy].max() <= 0.35
    assert 0.8 <= share[~cloudy].min() < share.max() <= 1.12
    assert 1.05 <= fill[cloudy].min() < fill.max() <= 1.3
    assert 0.88 <= fill.min() < fill[~cloudy].max() <= 1.12


def test_no_cloud_dims_an_infrared_lamp():
    spec = camera_specs("RenderedVI")[2]
    assert values("sun", shots("hard", "RenderedVI", 2, count=100)).min() >= 0.8 * spec.sun[2]


@pytest.mark.parametrize("name", ["easy", "hard"])
def test_spread_follows_the_difficulty(name):
    level = difficulty(name)
    found = shots(name)
    assert np.log(values("exposure", found)).std() == pytest.approx(level.exposure, rel=0.1)
    assert np.log(values("gains", found)).std() == pytest.approx(level.gains, rel=0.1)
    low, high = level.sharpness
    sharpness = values("sharpness", found)
    assert low <= sharpness.min() < sharpness.max() <= high
    assert sharpness.mean() == pytest.approx((low + high) / 2, abs=0.03)
    length = values("motion_length", found)
    assert (length > 0).mean() == pytest.approx(level.motion_share, abs=0.05)
    assert 1.5 <= length[length > 0].min() < length.max() <= 3.5
    assert 0 <= values("motion", found).min() < values("motion", found).max() <= math.pi


@pytest.mark.parametrize("name", ["easy", "hard"])
def test_boxes_are_loose_and_cut_now_and_then(name):
    found = shots(name)
    assert 1.03 <= values("box_scale", found).min() < values("box_scale", found).max() <= 1.2
    assert 0.4 <= values("box_aspect", found).min() < values("box_aspect", found).max() <= 0.5
    right, down = values("box_shift", found).T
    cut = np.abs(down) > 0.09  # five deviations of a box that does not cut
    assert cut.mean() == pytest.approx(difficulty(name).cut_share, abs=0.04)
    assert np.abs(down[cut]).max() <= 0.2
    assert {-1.0, 1.0} == set(np.sign(down[cut]))
    assert right.std() == pytest.approx(0.025, rel=0.1)
    assert down[~cut].std() == pytest.approx(0.018, rel=0.1)


def test_one_picture_in_five_has_a_companion_in_front_or_behind():
    met = [shot for shot in shots() if shot.companion >= 0]
    assert len(met) / COUNT == pytest.approx(0.22, abs=0.05)
    assert {shot.companion for shot in met} == set(range(12))
    across, behind, _ = values("companion_place", met).T
    assert (behind < 0).mean() == pytest.approx(0.3, abs=0.12)
    assert -1.3 <= behind.min() < behind[behind < 0].max() <= -0.5
    assert 0.7 <= behind[behind > 0].min() < behind.max() <= 3.5
    assert 0.3 <= np.abs(across).min() < np.abs(across).max() <= 0.75


def test_companion_is_absent_where_there_is_none():
    assert {shot.companion for shot in shots(companions=0, count=60)} == {-1}


def test_equal_generators_give_equal_shots():
    place = untraced("RenderedMall", 3)
    one = sample_shot(place, "handbag", 4, np.random.default_rng(5), level=difficulty("hard"))
    other = sample_shot(place, "handbag", 4, np.random.default_rng(5), level=difficulty("hard"))
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name))


def test_unusual_poses_reach_the_shot():
    rng = np.random.default_rng(0)
    shot = sample_shot(
        untraced("RenderedMall", 0), "none", 0, rng, level=difficulty("easy"), unusual_poses=1.0
    )
    assert shot.stance == "unusual"


def test_a_front_walker_is_seen_from_the_front_wherever_it_stands():
    rng = np.random.default_rng(1)
    found = [as_front_walker(shot, "none", rng) for shot in shots()]
    azimuths = values("azimuth_deg", found)
    angles = np.array([azimuth() for azimuth in azimuths])
    assert np.abs(angles).max() <= FRONT_DEG + 1e-6
    assert angles.min() < -25  # all of the range is used
    assert angles.max() > 25
    assert {shot.stance for shot in found} == {"walking"}
    assert found[0].x == shots()[0].x
    assert found[0].gains is shots()[0].gains


def test_a_front_walker_carries_the_bag():
    rng = np.random.default_rng(1)
    carrying = as_front_walker(shots()[0], "suitcase", rng)
    swinging = as_front_walker(shots()[0], "none", np.random.default_rng(1))
    assert not np.array_equal(carrying.pose, swinging.pose)
