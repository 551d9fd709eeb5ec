"""The rasteriser against hand computation and against ray casting (embree)."""

import numpy as np
import pytest

from fastreid_ext.bodies.cameras import Camera, from_viewpoint
from fastreid_ext.bodies.pose_bank import bank_pose
from fastreid_ext.bodies.poses import facing, on_ground, standing, walking
from fastreid_ext.bodies.render import Buffers, interpolate, rasterize, vertex_normals

# Right-angled triangle with legs of 4 pixels at the image's top left corner, all at 2 m.
TRIANGLE = np.float32([[0, 0, 2], [0, 4, 2], [4, 0, 2]])
ONE_FACE = np.int32([[0, 1, 2]])


def test_one_triangle_by_hand():
    seen = rasterize(TRIANGLE, ONE_FACE, 5, 6)
    # Pixel (row, column) has its centre at (column + .5, row + .5); inside when the two sum to at
    # most 4.
    expected = np.zeros((5, 6), bool)
    for row, columns in enumerate((4, 3, 2, 1, 0)):
        expected[row, :columns] = True
    np.testing.assert_array_equal(seen.mask, expected)
    np.testing.assert_array_equal(seen.face_id, np.where(expected, 0, -1))
    np.testing.assert_array_equal(seen.depth, np.where(expected, 2, np.inf).astype(np.float32))
    # At (0.5, 0.5): 1/8 of the way to either far corner.
    np.testing.assert_allclose(seen.barycentric[0, 0], [0.75, 0.125, 0.125], atol=1e-6)
    assert (seen.barycentric[~expected] == 0).all()


def test_barycentrics_are_corrected_for_perspective():
    # A slanted edge from 1 m to 3 m. Halfway in the image, 1/depth is the mean of 1 and 1/3: depth
    # 1.5 m, a quarter of the way along the surface.
    strip = np.float32([[0, -10, 1], [0, 20, 1], [9, -10, 3], [9, 20, 3]])
    seen = rasterize(strip, np.int32([[0, 1, 2], [2, 1, 3]]), 1, 9)
    assert seen.depth[0, 4] == pytest.approx(1.5, abs=1e-6)
    along = interpolate(seen, np.int32([[0, 1, 2], [2, 1, 3]]), np.float32([[0], [0], [1], [1]]))
    assert along[0, 4, 0] == pytest.approx(0.25, abs=1e-6)
    np.testing.assert_allclose(seen.barycentric.sum(axis=2), 1, atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_surface_wins_in_any_order(order):
    near = TRIANGLE
    far = TRIANGLE * np.float32([1, 1, 1.5])
    meshes = [near, far]
    seen = Buffers.empty(5, 6)
    for k in order:
        rasterize(meshes[k], ONE_FACE, 5, 6, buffers=seen, face_offset=k)
    assert set(np.unique(seen.face_id)) == {-1, 0}
    assert np.unique(seen.depth).tolist() == [2, np.inf]


def test_of_equal_surfaces_the_first_rasterised_stays():
    seen = rasterize(TRIANGLE, ONE_FACE, 5, 6)
    rasterize(TRIANGLE, ONE_FACE, 5, 6, buffers=seen, face_offset=1)
    assert set(np.unique(seen.face_id)) == {-1, 0}


def test_triangles_that_reach_the_near_plane_are_dropped():
    for depth in (0.0499, 0.0, -1.0, np.nan):
        corner = TRIANGLE.copy()
        corner[1, 2] = depth
        assert not rasterize(corner, ONE_FACE, 5, 6).mask.any()


def test_partly_outside_the_image_is_clipped_to_it():
    seen = rasterize(TRIANGLE - np.float32([1, 1, 0]), ONE_FACE, 3, 3)
    assert np.argwhere(seen.mask).tolist() == [[0, 0], [0, 1], [1, 0]]
    assert not rasterize(TRIANGLE + np.float32([100, 0, 0]), ONE_FACE, 3, 3).mask.any()
    huge = np.float32([[-1e7, -1e7, 2], [-1e7, 1e7, 2], [1e7, 0, 2]])
    assert rasterize(huge, ONE_FACE, 3, 3).mask.all()


def test_back_faces_are_rendered_unless_culled():
    # Corners in image order top left, bottom left, right: counter-clockwise for a viewer whose y
    # points up.
    assert rasterize(TRIANGLE, ONE_FACE, 5, 6, cull_back_faces=True).mask.any()
    turned = ONE_FACE[:, ::-1]
    assert rasterize(TRIANGLE, turned, 5, 6).mask.any()
    assert not rasterize(TRIANGLE, turned, 5, 6, cull_back_faces=True).mask.any()


def test_shared_edges_leave_no_holes_and_no_double_pixels(rng):
    grid = (
        np.stack(np.meshgrid(np.arange(9), np.arange(9), indexing="xy"), axis=-1).reshape(-1, 2)
        * 5.0
    )
    inner = (grid > 0).all(axis=1) & (grid < 40).all(axis=1)
    grid[inner] += rng.uniform(-1.5, 1.5, (inner.sum(), 2))
    points = np.column_stack([grid, rng.uniform(1, 3, len(grid))]).astype(np.float32)
    quads = np.array(
        [
            [r * 9 + c, r * 9 + 9 + c, r * 9 + 10 + c, r * 9 + 1 + c]
            for r in range(8)
            for c in range(8)
        ]
    )
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    assert rasterize(points, faces, 40, 40).mask.all()


def test_interpolate_writes_only_its_own_mesh():
    seen = rasterize(TRIANGLE, ONE_FACE, 5, 6)
    rasterize(TRIANGLE + np.float32([3, 2, -1]), ONE_FACE, 5, 6, buffers=seen, face_offset=1)
    colours = np.full((5, 6, 1), 9, np.float32)
    interpolate(seen, ONE_FACE, np.ones((3, 1), np.float32), face_offset=1, out=colours)
    np.testing.assert_allclose(colours[..., 0], np.where(seen.face_id == 1, 1, 9), atol=1e-6)


def test_interpolation_of_positions_lands_on_the_camera_ray(body):
    camera = from_viewpoint(15, 40, 4.0, focal_px=500, height=256, width=128)
    seen = rasterize(camera.project(body.template), body.faces, 256, 128)
    again = camera.project(interpolate(seen, body.faces, body.template)[seen.mask])
    rows, columns = np.nonzero(seen.mask)
    np.testing.assert_allclose(again[:, 0], columns + 0.5, atol=2e-3)
    np.testing.assert_allclose(again[:, 1], rows + 0.5, atol=2e-3)
    np.testing.assert_allclose(again[:, 2], seen.depth[seen.mask], atol=1e-5)


def test_normals_of_a_cube_point_along_its_diagonals():
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([q[:3] for q in quads] + [[q[0], q[2], q[3]] for q in quads])
    normals = vertex_normals(corners, faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert ((normals * corners) > 0).all()


@pytest.mark.parametrize(
    ("points", "faces", "words"),
    [
        (TRIANGLE[:, :2], ONE_FACE, r"expected projected \(V, 3\)"),
        (TRIANGLE, ONE_FACE + 1, r"expected face corners in 0\.\.2, got 1\.\.3"),
        (TRIANGLE, ONE_FACE - 1, "do the faces belong to this mesh"),
    ],
)
def test_bad_meshes_are_refused(points, faces, words):
    with pytest.raises(ValueError, match=words):
        rasterize(points, faces, 5, 6)


def test_bad_buffers_and_values_are_refused():
    with pytest.raises(ValueError, match=r"expected buffers of \(5, 6\) pixels"):
        rasterize(TRIANGLE, ONE_FACE, 5, 6, buffers=Buffers.empty(6, 5))
    seen = rasterize(TRIANGLE, ONE_FACE, 5, 6)
    with pytest.raises(ValueError, match=r"expected values \(V, C\)"):
        interpolate(seen, ONE_FACE, np.ones(3))
    with pytest.raises(ValueError, match="expected a value for each of 3 vertices, got 2"):
        interpolate(seen, ONE_FACE, np.ones((2, 1)))


def cast_rays(camera: Camera, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Depth (H, W) by one embree ray through every pixel centre; inf where nothing is hit."""
    rtcore_scene = pytest.importorskip("embreex.rtcore_scene", reason="pip install embreex")
    from embreex.mesh_construction import TriangleMesh

    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices[faces], dtype=np.float32))
    x = (np.arange(camera.width) + 0.5 - camera.width / 2) / camera.focal_px
    y = (np.arange(camera.height) + 0.5 - camera.height / 2) / camera.focal_px
    in_camera = np.stack([*np.meshgrid(x, y), np.ones((camera.height, camera.width))], axis=-1)
    rays = (in_camera.reshape(-1, 3) @ camera.rotation).astype(
        np.float32
    )  # camera z = 1: distance = depth
    start = np.broadcast_to(np.float32(camera.position), rays.shape).copy()
    hit = scene.run(start, rays, query="DISTANCE")
    return np.where(hit < 1e30, hit, np.inf).reshape(camera.height, camera.width)


POSES = {
    "walking": walking(0.1, 1.4, np.random.default_rng(0)),
    "arms crossed, from behind": facing(standing(np.random.default_rng(1), "arms_crossed"), 160),
    "squat": bank_pose("squat"),
    "kick": facing(bank_pose("kick"), 50),
}


@pytest.mark.parametrize("view", [(0, 0, 3.5), (25, 70, 4.0), (60, 200, 5.0)], ids=str)
@pytest.mark.parametrize("name", POSES)
def test_agrees_with_ray_casting(body, name, view):
    posed = on_ground(body.pose(np.full(10, 0.5), POSES[name]))
    camera = from_viewpoint(*view, target=(0, 0.8, 0), focal_px=650, height=384, width=192)
    seen = rasterize(camera.project(posed.vertices), body.faces, 384, 192)
    truth = cast_rays(camera, posed.vertices, body.faces)
    both = seen.mask & np.isfinite(truth)
    either = seen.mask | np.isfinite(truth)
    assert either.sum() > 4000
    assert both.sum() / either.sum() > 0.999
    difference = np.abs(seen.depth[both] - truth[both])
    assert np.median(difference) < 1e-5
    assert np.quantile(difference, 0.999) < 1e-3
