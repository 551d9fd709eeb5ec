"""One test per convention stated at the top of conditions.py."""

import numpy as np
import pytest

from fastreid_ext.bodies import conditions
from fastreid_ext.bodies.cameras import Camera, from_viewpoint
from fastreid_ext.bodies.parts import part_index
from fastreid_ext.bodies.render import rasterize

HEIGHT = 64
WIDTH = 48
CAMERA = from_viewpoint(0, 0, 4.0, focal_px=60, height=HEIGHT, width=WIDTH)
# Two squares of 1 m that face the camera (+z): x in [-1, 0] at z = 0, x in [0, 1] at z = 1.
VERTICES = np.float32(
    [[-1, -1, 0], [0, -1, 0], [0, 1, 0], [-1, 1, 0], [0, -1, 1], [1, -1, 1], [1, 1, 1], [0, 1, 1]]
)
FACES = np.int32([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])


@pytest.fixture(scope="module")
def seen():
    return rasterize(CAMERA.project(VERTICES), FACES, HEIGHT, WIDTH)


def test_depth_is_1_at_the_nearest_and_a_tenth_at_the_furthest(seen):
    depth = conditions.depth_map(seen)
    far_pixel = depth[32, 20]
    near_pixel = depth[32, 28]
    assert near_pixel == pytest.approx(1.0)
    assert far_pixel == pytest.approx(0.1)
    assert depth.dtype == np.float32
    assert (depth[~seen.mask] == 0).all()


def test_depth_is_linear_in_metres_between_given_planes(seen):
    depth = conditions.depth_map(seen, near_m=2.0, far_m=4.0)
    assert depth[32, 28] == pytest.approx(0.55)  # 3 m is halfway
    with pytest.raises(ValueError, match="expected near_m <= far_m"):
        conditions.depth_map(seen, near_m=4.0, far_m=2.0)


def test_nothing_seen_is_all_background():
    nothing = rasterize(CAMERA.project(VERTICES + np.float32([0, 0, 50])), FACES, HEIGHT, WIDTH)
    assert (conditions.depth_map(nothing) == 0).all()
    assert (conditions.normal_map(nothing, VERTICES, FACES, CAMERA) == 0).all()
    assert (conditions.part_map(nothing, FACES, np.zeros(8, np.int8)) == -1).all()


def test_a_surface_that_faces_the_camera_is_half_half_one(seen):
    normals = conditions.normal_map(seen, VERTICES, FACES, CAMERA)
    np.testing.assert_allclose(
        normals[seen.mask], np.tile([0.5, 0.5, 1], (seen.mask.sum(), 1)), atol=1e-6
    )
    assert (normals[~seen.mask] == 0).all()


@pytest.mark.parametrize(
    ("tilt", "channel"), [((1, 0, 1), 0), ((0, 1, 1), 1)], ids=["right is red", "up is green"]
)
def test_normals_that_point_right_or_up_raise_their_channel(tilt, channel):
    normal = np.array(tilt) / np.sqrt(2)
    across = np.cross([0, 1, 0], normal) if channel == 0 else np.array([1.0, 0, 0])
    along = np.cross(normal, across)
    corners = np.float32([-across - along, across - along, across + along, -across + along])
    faces = np.int32([[0, 1, 2], [0, 2, 3]])
    buffers = rasterize(CAMERA.project(corners), faces, HEIGHT, WIDTH)
    value = conditions.normal_map(buffers, corners, faces, CAMERA)[32, 24]
    expected = np.array([0.5, 0.5, (1 + np.sqrt(0.5)) / 2])
    expected[channel] = (1 + np.sqrt(0.5)) / 2
    np.testing.assert_allclose(value, expected, atol=1e-5)


def test_normals_turn_with_the_camera():
    side = from_viewpoint(
        0, 90, 4.0, focal_px=60, height=HEIGHT, width=WIDTH
    )  # from the body's left
    corners = np.float32(
        [[0, -1, 1], [0, -1, -1], [0, 1, -1], [0, 1, 1]]
    )  # faces +x, towards that camera
    faces = np.int32([[0, 1, 2], [0, 2, 3]])
    buffers = rasterize(side.project(corners), faces, HEIGHT, WIDTH)
    value = conditions.normal_map(buffers, corners, faces, side)[32, 24]
    np.testing.assert_allclose(value, [0.5, 0.5, 1], atol=1e-6)


def test_parts_are_those_of_the_nearest_corner(seen):
    part = np.int8([3, 3, 3, 3, 7, 7, 7, 7])
    parts = conditions.part_map(seen, FACES, part)
    assert parts[32, 20] == 3
    assert parts[32, 28] == 7
    assert (parts[~seen.mask] == -1).all()


def test_part_map_of_the_body_from_the_front_and_behind(body):
    for azimuth, centre in ((0, "face"), (180, "hair_cap")):
        camera = from_viewpoint(
            0, azimuth, 4.0, target=(0, 0.72, 0.03), focal_px=600, height=128, width=64
        )
        buffers = rasterize(camera.project(body.template), body.faces, 128, 64)
        assert conditions.part_map(buffers, body.faces, body.part)[62, 32] == part_index(centre)


def test_other_meshes_in_the_buffers_are_not_parts(seen):
    both = rasterize(
        CAMERA.project(VERTICES + np.float32([0, 0, 1])), FACES, HEIGHT, WIDTH,
        buffers=rasterize(CAMERA.project(VERTICES), FACES, HEIGHT, WIDTH), face_offset=len(FACES),
    )  # fmt: skip
    assert (
        conditions.part_map(both, FACES, np.zeros(8, np.int8))[both.face_id >= len(FACES)] == -1
    ).all()


def test_colours_are_interpolated_between_the_corners(seen):
    colours = np.zeros((8, 3), np.float32)
    colours[[1, 2], 0] = 1  # the far square: red grows from its left edge to its right edge
    seen_red = conditions.colour_map(seen, FACES, colours)[32, :, 0]
    # x = -0.5 m at 4 m with 60 px focal length: 7.5 px left of the centre line at 24.
    assert seen_red[16] == pytest.approx(0.5, abs=1e-5)


class TestSkeleton:
    def test_palette_is_18_hues_20_degrees_apart(self):
        assert [round(255 * c) for c in conditions.OPENPOSE_COLOURS[0]] == [255, 0, 0]
        assert [round(255 * c) for c in conditions.OPENPOSE_COLOURS[1]] == [255, 85, 0]
        assert len(conditions.OPENPOSE_NAMES) == len(conditions.OPENPOSE_COLOURS) == 18

    def test_points_are_rendered_where_they_project(self, body):
        posed = body.pose(np.zeros(10), np.zeros((24, 3)))
        camera = from_viewpoint(0, 0, 5.0, focal_px=900, height=512, width=512)
        image = conditions.skeleton_map(posed, camera)
        points = camera.project(conditions.openpose_points(posed))
        for name in ("right_wrist", "left_wrist", "left_knee", "nose"):
            i = conditions.OPENPOSE_NAMES.index(name)
            x, y = np.floor(points[i, :2]).astype(int)
            np.testing.assert_allclose(image[y, x], conditions.OPENPOSE_COLOURS[i], atol=0.02)

    def test_right_is_the_persons_own(self, body):
        posed = body.pose(np.zeros(10), np.zeros((24, 3)))
        points = conditions.openpose_points(posed)
        for name, x in zip(conditions.OPENPOSE_NAMES, points[:, 0], strict=True):
            if name.startswith("right_"):
                assert x < 0
            elif name.startswith("left_"):
                assert x > 0

    def test_the_middle_of_a_limb_is_at_60_percent(self, body):
        posed = body.pose(np.zeros(10), np.zeros((24, 3)))
        camera = from_viewpoint(0, 0, 5.0, focal_px=900, height=512, width=512)
        image = conditions.skeleton_map(posed, camera)
        points = camera.project(conditions.openpose_points(posed))
        names = conditions.OPENPOSE_NAMES
        middle = (points[names.index("right_elbow")] + points[names.index("right_wrist")]) / 2
        x, y = np.floor(middle[:2]).astype(int)
        np.testing.assert_allclose(
            image[y, x], np.multiply(0.6, conditions.OPENPOSE_COLOURS[3]), atol=0.02
        )

    def test_a_body_behind_the_camera_is_not_rendered(self, body):
        posed = body.pose(np.zeros(10), np.zeros((24, 3)))
        away = Camera((0, 0, 4), (0, 0, 8), 500, 64, 64)
        assert not conditions.skeleton_map(posed, away).any()

    def test_face_points_lie_on_the_face(self, body):
        posed = body.pose(np.zeros(10), np.zeros((24, 3)))
        points = dict(
            zip(conditions.OPENPOSE_NAMES, conditions.openpose_points(posed), strict=True)
        )
        for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
            nearest = np.linalg.norm(posed.vertices - points[name], axis=1).min()
            assert nearest < 0.025, name


def test_as_uint8_rounds():
    assert conditions.as_uint8(np.float32([0, 0.5, 1])).tolist() == [0, 128, 255]
