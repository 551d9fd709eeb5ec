"""Pieces: meshes against closed forms of areas, volumes and edges."""

import collections
import math

import numpy as np
import pytest

from fastreid_ext.rendered.pieces import ANCHORS, JOINTS, blob, bound, grid_faces, rigid, tube


def volume(vertices, faces):
    """Signed volume by the divergence theorem; positive where faces turn outwards."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def edges(faces):
    """Directed edges of triangles, counted."""
    pairs = [(face[k], face[(k + 1) % 3]) for face in faces.tolist() for k in range(3)]
    return collections.Counter(pairs)


@pytest.mark.parametrize(("closed", "columns"), [(True, 5), (False, 4)])
def test_grid_faces_cover_every_cell_twice(closed, columns):
    faces = grid_faces(4, 5, closed)
    assert len(faces) == 2 * 3 * columns
    assert set(faces.ravel()) == set(range(20))


def test_grid_faces_share_edges_in_opposite_directions():
    """A closed grid has a rim at its first and its last row only."""
    found = edges(grid_faces(4, 6, True))
    assert set(found.values()) == {1}
    rim = {edge for edge in found if edge[::-1] not in found}
    assert {vertex for edge in rim for vertex in edge} == {*range(6), *range(18, 24)}
    assert len(rim) == 12


@pytest.mark.parametrize("power", [2.0, 2.3, 6.0])
def test_tube_rings_are_superellipses(power):
    """Points of a ring satisfy |x / a|^n + |z / b|^n = 1."""
    centres = np.array([[0.1, 1.0, 0.2], [0.3, 0.5, -0.1]])
    radii = np.array([[0.2, 0.1], [0.3, 0.4]])
    vertices, _ = tube(centres, radii, 16, power)
    rings = vertices.reshape(2, 16, 3) - centres[:, None]
    assert rings[..., 1] == pytest.approx(np.zeros((2, 16)))
    shares = np.abs(rings[..., [0, 2]] / radii[:, None]) ** power
    assert shares.sum(axis=-1) == pytest.approx(np.ones((2, 16)))


def test_tube_faces_turn_outwards():
    vertices, faces = tube(np.array([[0, 1.0, 0], [0, 0.0, 0]]), np.full((2, 2), 0.3), 12)
    a, b, c = vertices[faces].transpose(1, 0, 2)
    outwards = (a + b + c) * [1, 0, 1]
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), outwards) > 0).all()


def test_blob_volume_is_that_of_an_ellipsoid_of_twelve_sides():
    half = (0.2, 0.3, 0.1)
    vertices, faces = blob((1.0, 2.0, 3.0), half, rows=61)
    twelve_sides = 12 / (2 * math.pi) * math.sin(2 * math.pi / 12)
    expected = twelve_sides * 4 / 3 * math.pi * half[0] * half[1] * half[2]
    assert volume(vertices - [1.0, 2.0, 3.0], faces) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("power", [2.0, 4.0, 6.0])
def test_blob_fills_its_box_and_no_more(power):
    half = np.array([0.2, 0.3, 0.1])
    centre = np.array([1.0, 2.0, 3.0])
    vertices, _ = blob(centre, tuple(half), power)
    assert vertices.min(axis=0) == pytest.approx(centre - half)
    assert vertices.max(axis=0) == pytest.approx(centre + half)


def test_blob_of_higher_power_comes_closer_to_a_box():
    shares = [
        volume(*blob(np.zeros(3), (0.5, 0.5, 0.5), power, rows=41)) for power in (2.0, 4.0, 12.0)
    ]
    assert 0.48 < shares[0] < shares[1] < shares[2] < 1.0


def test_blob_is_closed_but_for_pinholes_at_its_poles():
    vertices, _ = blob((0, 0, 0), (1.0, 1.0, 1.0))
    for pole in (vertices[:12], vertices[-12:]):
        assert np.abs(pole[:, [0, 2]]).max() <= 1e-3 + 1e-12


def test_bound_ties_all_vertices_to_the_same_joints():
    weights = bound(np.zeros((4, 3)), {3: 0.25, 26: 0.75})
    assert weights.shape == (4, JOINTS + ANCHORS)
    assert weights[:, 3].tolist() == [0.25] * 4
    assert weights[:, 26].tolist() == [0.75] * 4
    assert weights.sum() == 4


def test_rigid_pattern_runs_down_from_the_top():
    piece = rigid(blob((0.4, 1.0, -0.2), (0.1, 0.2, 0.3)), {5: 1.0}, "bag")
    assert piece.surface == "bag"
    assert piece.coordinates[:, 1] == pytest.approx(1.2 - piece.vertices[:, 1])
    assert piece.coordinates[:, [0, 2]].mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    steps = piece.coordinates - piece.coordinates[0]
    assert steps == pytest.approx((piece.vertices - piece.vertices[0]) * [1, -1, 1])
