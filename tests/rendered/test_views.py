"""Views: directions, the camera's place, and the traced frame against the pinhole by hand."""

import numpy as np
import pytest

from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH, direction, view


@pytest.fixture(scope="module", params=[0, 2])
def place(request):
    """A visible and an infrared camera."""
    return view("RenderedVI", request.param)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (0, 0, (0, 0, -1)),  # behind the camera, which looks along +z
        (180, 0, (0, 0, 1)),
        (90, 0, (1, 0, 0)),
        (-90, 0, (-1, 0, 0)),
        (77, 90, (0, 1, 0)),
        (0, 30, (0, 0.5, -(0.75**0.5))),
    ],
)
def test_direction_by_hand(azimuth, elevation, expected):
    assert direction(azimuth, elevation) == pytest.approx(expected, abs=1e-12)


def test_camera_hangs_level_and_looks_at_the_middle_of_the_walk(place):
    assert place.position.tolist() == [0.0, place.spec.height, 0.0]
    assert place.rotation @ place.rotation.T == pytest.approx(np.eye(3))
    assert np.linalg.det(place.rotation) == pytest.approx(1)
    assert place.rotation[0, 1] == 0
    target = np.array([0, 0.85, (place.spec.near + place.spec.far) / 2])
    right, down, depth = place.rotation @ (target - place.position)
    assert (right, down) == pytest.approx((0, 0))
    assert depth > 0
    assert place.focal == place.spec.focal * FRAME_HEIGHT


def test_frame_shapes_and_types(place):
    assert place.ambient.shape == place.sunlit.shape == (FRAME_HEIGHT, FRAME_WIDTH, 4)
    assert place.depth.shape == (FRAME_HEIGHT, FRAME_WIDTH)
    assert place.ambient.dtype == place.sunlit.dtype == place.depth.dtype == np.float32
    assert min(place.ambient.min(), place.sunlit.min()) >= 0
    assert place.depth.min() > 0


def test_nothing_is_seen_below_the_ground_and_much_of_it_is_seen(place):
    columns, rows = np.meshgrid(np.arange(FRAME_WIDTH), np.arange(FRAME_HEIGHT))
    rays = np.stack(
        [
            (columns + 0.5 - FRAME_WIDTH / 2) / place.focal,
            (rows + 0.5 - FRAME_HEIGHT / 2) / place.focal,
            np.ones_like(rows),
        ],
        axis=-1,
    )
    solid = np.isfinite(place.depth)
    height = place.position[1] + place.depth[solid] * (rays[solid] @ place.rotation)[:, 1]
    assert height.min() > -1e-4
    assert (np.abs(height) < 1e-4).mean() > 0.2


def test_sky_sends_no_sunlight(place):
    sky = np.isinf(place.depth)
    assert place.sunlit[sky].sum() == 0


def test_ambient_light_has_the_colour_of_the_sky(place):
    spec = place.spec
    assert place.overhead == pytest.approx([spec.fill * value for value in (*spec.sky, 0.35)])
    assert place.bounce[:3] == pytest.approx(0.3 * place.overhead[:3])
    assert np.linalg.norm(place.sun) == pytest.approx(1)


def test_view_is_traced_once():
    assert view("RenderedVI", 0) is view("RenderedVI", 0)


def test_view_of_an_unknown_domain():
    with pytest.raises(ValueError, match="expected a domain of RenderedCampus"):
        view("Campus", 0)
