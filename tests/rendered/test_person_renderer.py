"""One crop, against projections, resampling and rays by hand."""

import dataclasses

import cv2
import numpy as np
import pytest

from fastreid_ext.bodies.poses import standing
from fastreid_ext.bodies.render import Buffers
from fastreid_ext.rendered.difficulty import difficulty
from fastreid_ext.rendered.dressing import dress, free_body
from fastreid_ext.rendered.identities import sample_identity
from fastreid_ext.rendered.person_renderer import (
    OVERSAMPLING,
    _Actor,
    _crop,
    _light,
    _occlusion,
    _shadow_map,
    render,
)
from fastreid_ext.rendered.posing import stand
from fastreid_ext.rendered.shading import lit
from fastreid_ext.rendered.shots import sample_shot
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH, view

HEIGHT, WIDTH = 64, 32


@pytest.fixture(scope="module")
def place():
    """A camera of RenderedVI with nothing in front of it nearer than 100 m."""
    traced = view("RenderedVI", 0)
    return dataclasses.replace(traced, depth=np.full_like(traced.depth, 100.0))


@pytest.fixture(scope="module")
def people():
    """Two dressed bodies."""
    body = free_body()[0]
    who = [sample_identity(body, 0, "RenderedVI", person_id, 1) for person_id in (1, 2)]
    return [dress(person, "none", 0, "RenderedVI") for person in who]


@pytest.fixture(scope="module")
def shot(place):
    rng = np.random.default_rng(4)
    found = sample_shot(place, "none", 0, rng, level=difficulty("easy"))
    return dataclasses.replace(
        found, x=0.4, z=5.5, pose=standing(rng, "relaxed"), box_shift=(0.0, 0.0), sun=0.6
    )


def meeting(shot, across, behind):
    """The shot, with a companion beside, in front of or behind the body."""
    return dataclasses.replace(
        shot, companion=0, companion_place=(across, behind, 0.0), companion_pose=shot.pose
    )


def test_crop_agrees_with_a_slow_bilinear_loop():
    frame = cv2.GaussianBlur(np.random.default_rng(0).random((40, 50), np.float32), (0, 0), 2)
    box = (5.3, 7.9, 22.0, 25.0)
    found = _crop(frame, box, 20, 16, cv2.INTER_LINEAR)
    for row in range(20):
        for column in range(16):
            x = box[0] + (column + 0.5) * box[2] / 16 - 0.5  # in pixels whose centres are whole
            y = box[1] + (row + 0.5) * box[3] / 20 - 0.5
            i, j = int(y), int(x)
            a = y - i
            b = x - j
            top = frame[i, j] * (1 - b) + frame[i, j + 1] * b
            low = frame[i + 1, j] * (1 - b) + frame[i + 1, j + 1] * b
            assert found[row, column] == pytest.approx(top * (1 - a) + low * a, abs=0.01)


def test_crop_of_the_whole_frame_is_the_frame_and_beyond_it_the_border_repeats():
    frame = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(_crop(frame, (0, 0, 4, 3), 3, 4, cv2.INTER_NEAREST), frame)
    wide = _crop(frame, (-2, 0, 8, 3), 3, 8, cv2.INTER_NEAREST)
    assert np.array_equal(wide, np.pad(frame, ((0, 0), (2, 2)), mode="edge"))


def test_render_box_holds_the_projected_body(place, people, shot):
    rendering = render(place, people[0], [], shot, HEIGHT, WIDTH)
    vertices, joints = stand(people[0], shot.pose, shot.yaw, shot.x, shot.z)
    x, y, z = place.rotation @ (vertices - place.position).T
    column = place.focal * x / z + FRAME_WIDTH / 2
    row = place.focal * y / z + FRAME_HEIGHT / 2
    left, top, width, height = rendering.box
    assert height == pytest.approx(np.ptp(row) * shot.box_scale, rel=1e-4)
    assert width == pytest.approx(height * shot.box_aspect)
    assert left + width / 2 == pytest.approx((column.min() + column.max()) / 2, abs=0.01)
    assert top + height / 2 == pytest.approx((row.min() + row.max()) / 2, abs=0.01)
    assert np.array_equal(rendering.joints, joints)


def test_render_box_shift_is_in_heights_of_the_body(place, people, shot):
    centred = render(place, people[0], [], shot, HEIGHT, WIDTH).box
    moved = dataclasses.replace(shot, box_shift=(0.1, -0.2))
    shifted = render(place, people[0], [], moved, HEIGHT, WIDTH).box
    tall = centred[3] / shot.box_scale
    assert np.subtract(shifted, centred) == pytest.approx([0.1 * tall, -0.2 * tall, 0, 0], abs=1e-3)


def test_render_radiance_shape_and_range(place, people, shot):
    rendering = render(place, people[0], [], shot, HEIGHT, WIDTH)
    assert rendering.radiance.shape == (OVERSAMPLING * HEIGHT, OVERSAMPLING * WIDTH, 4)
    assert rendering.radiance.dtype == np.float32
    assert np.isfinite(rendering.radiance).all()
    assert 0 <= rendering.radiance.min() < rendering.radiance.max() < 5
    assert rendering.visible == 1.0


def test_render_changes_no_view_and_repeats(place, people, shot):
    before = [place.ambient.copy(), place.sunlit.copy(), people[0].vertices.copy()]
    one = render(place, people[0], people[1:], meeting(shot, 0.5, 1.0), HEIGHT, WIDTH)
    other = render(place, people[0], people[1:], meeting(shot, 0.5, 1.0), HEIGHT, WIDTH)
    assert np.array_equal(one.radiance, other.radiance)
    for array, copy in zip((place.ambient, place.sunlit, people[0].vertices), before, strict=True):
        assert np.array_equal(array, copy)


def test_visible_share_falls_behind_a_wall_that_hides_half(place, people, shot):
    """A wall up to the row of the box's middle, at 1 m."""
    box = render(place, people[0], [], shot, HEIGHT, WIDTH).box
    depth = place.depth.copy()
    depth[: round(box[1] + box[3] / 2)] = 1.0
    hidden = render(dataclasses.replace(place, depth=depth), people[0], [], shot, HEIGHT, WIDTH)
    assert 0.3 < hidden.visible < 0.7


def test_a_companion_in_front_hides_and_one_behind_does_not(place, people, shot):
    front = render(place, people[0], people[1:], meeting(shot, 0.0, -0.8), HEIGHT, WIDTH)
    behind = render(place, people[0], people[1:], meeting(shot, 0.0, 0.8), HEIGHT, WIDTH)
    assert front.visible < 0.5
    assert behind.visible > 0.97
    alone = render(place, people[0], [], shot, HEIGHT, WIDTH)
    assert front.box == behind.box == alone.box


def test_a_companion_too_close_to_the_camera_is_left_out(place, people, shot):
    near = dataclasses.replace(shot, z=3.4)
    alone = render(place, people[0], people[1:], near, HEIGHT, WIDTH)
    left_out = render(place, people[0], people[1:], meeting(near, 0.3, -0.95), HEIGHT, WIDTH)
    assert np.array_equal(alone.radiance, left_out.radiance)


def hits_a_triangle(origin, ray, corners):
    """Whether a ray hits any of some triangles (F, 3, 3), by Moeller and Trumbore."""
    a = corners[:, 0]
    one = corners[:, 1] - a
    two = corners[:, 2] - a
    across = np.cross(ray, two)
    volume = np.einsum("ij,ij->i", one, across)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = origin - a
        u = np.einsum("ij,ij->i", start, across) / volume
        turned = np.cross(start, one)
        v = turned @ ray / volume
        t = np.einsum("ij,ij->i", two, turned) / volume
        return ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.05)).any()


def test_shadow_on_the_ground_agrees_with_rays_to_the_sun(place, people, shot):
    vertices, joints = stand(people[0], shot.pose, shot.yaw, shot.x, shot.z)
    sun = np.array([0.6, 0.64, -0.48])
    light_map, frame = _shadow_map([_Actor(people[0], vertices, joints)], sun)
    corners = vertices[people[0].faces].astype(np.float64)
    rng = np.random.default_rng(0)
    away = -sun[[0, 2]] / sun[1]
    found = []
    for share, aside, along in rng.uniform((0, -0.5, -0.5), (1.7, 0.5, 0.5), (60, 3)):
        place = np.array([shot.x, shot.z]) + share * away + [aside, along]
        spot = np.array([place[0], 0.0, place[1]])
        open_share = lit(light_map, frame, *spot)
        if open_share in (0.0, 1.0):  # others are edges of the shadow
            found.append(bool(hits_a_triangle(spot, sun, corners)) == (open_share == 0.0))
    assert len(found) > 40
    assert np.mean(found) > 0.97


def test_a_faint_sun_and_an_infrared_lamp_cast_no_shadow(place, people, shot):
    vertices, joints = stand(people[0], shot.pose, shot.yaw, shot.x, shot.z)
    actors = [_Actor(people[0], vertices, joints)]
    assert _light(place, actors, shot).shadow_map.shape == (112, 112)
    faint = dataclasses.replace(shot, sun=0.04)
    assert _light(place, actors, faint).shadow_map.shape == (1, 1)
    dark = dataclasses.replace(place, spec=view("RenderedVI", 2).spec)
    lamp = _light(dark, actors, shot)
    assert lamp.headlight
    assert lamp.shadow_map.shape == (1, 1)


def test_occlusion_darkens_what_lies_deeper_than_its_surroundings():
    buffers = Buffers.empty(60, 40)
    assert (_occlusion(buffers) == 1.0).all()
    buffers.face_id[:] = 0
    buffers.depth[:] = 5.0
    assert _occlusion(buffers) == pytest.approx(np.ones((60, 40)), abs=1e-5)
    buffers.depth[30:, :] = 5.05  # a step of 5 cm
    light = _occlusion(buffers)
    assert light[30, 20] == pytest.approx(1 - 4.5 * 0.05 / 3, abs=0.01)  # a third is nearer
    assert light[[10, 28, 50], 20] == pytest.approx([1, 1, 1], abs=1e-4)
    buffers.depth[30:, :] = 9.0
    assert _occlusion(buffers).min() == np.float32(0.45)
