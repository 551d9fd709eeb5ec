"""Projection numbers a person can check in the head."""

import numpy as np
import pytest

from fastreid_ext.bodies.cameras import Camera, from_viewpoint, look_at

FRONT = from_viewpoint(0, 0, 2.0, focal_px=100, height=80, width=60)  # 2 m before the body


def test_the_target_falls_on_the_image_centre():
    np.testing.assert_allclose(FRONT.project(np.zeros((1, 3))), [[30, 40, 2]], atol=1e-5)


def test_one_metre_at_two_metres_is_half_the_focal_length():
    up = FRONT.project(np.array([[0.0, 1, 0]]))[0]
    np.testing.assert_allclose(
        up, [30, 40 - 50, 2], atol=1e-5
    )  # up in the world is up in the image


def test_from_the_front_the_left_side_is_on_the_right_of_the_image():
    assert FRONT.project(np.array([[0.5, 0, 0]]))[0, 0] == pytest.approx(30 + 25)


def test_a_camera_at_90_degrees_sees_the_left_shoulder_first():
    camera = from_viewpoint(0, 90, 3.0, focal_px=100, height=80, width=60)
    np.testing.assert_allclose(camera.position, (3, 0, 0), atol=1e-12)
    left, right = camera.project(np.array([[0.2, 0, 0], [-0.2, 0, 0]]))
    assert left[2] == pytest.approx(2.8)
    assert right[2] == pytest.approx(3.2)
    front = camera.project(np.array([[0, 0, 0.3]]))[0]
    assert front[0] < 30  # the body faces the left edge


def test_positive_elevation_looks_down():
    camera = from_viewpoint(30, 0, 2.0, focal_px=100, height=80, width=60)
    assert camera.position[1] == pytest.approx(1.0)  # 2 sin 30
    head, feet = camera.project(np.array([[0, 0.5, 0], [0, -0.5, 0]]))
    assert head[2] < feet[2]  # the head is nearer


def test_rotation_is_a_right_handed_frame_with_a_level_horizon(rng):
    for _ in range(20):
        turn = look_at(rng.normal(size=3), rng.normal(size=3))
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
        assert turn[0, 1] == pytest.approx(0)  # image x has no vertical part
        assert turn[1, 1] < 0  # image y points down


def test_points_behind_the_camera_have_negative_depth_and_stay_finite():
    behind = FRONT.project(np.array([[0, 0, 5.0], [0.3, 0.1, 2.0]]))
    assert behind[0, 2] == pytest.approx(-3)
    assert np.isfinite(behind).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: look_at((0, 5, 0), (0, 0, 0)), "horizon is undefined"),
        (lambda: look_at((1, 1, 1), (1, 1, 1)), "expected a target beside"),
        (lambda: Camera((0, 0, 1), (0, 0, 0), 0.0, 8, 8), "expected positive focal_px"),
        (
            lambda: from_viewpoint(90, 0, 1, focal_px=1, height=1, width=1),
            r"elevation_deg in \(-90, 90\)",
        ),
        (lambda: from_viewpoint(0, 0, 0, focal_px=1, height=1, width=1), "distance_m > 0"),
    ],
)
def test_impossible_cameras_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
