"""Scenes and furniture: known surfaces, pieces on the ground, and room for people to walk."""

import zlib

import numpy as np
import pytest

from fastreid_ext.rendered import furniture
from fastreid_ext.rendered.domains import DOMAINS, camera_specs
from fastreid_ext.rendered.palettes import to_linear
from fastreid_ext.rendered.scene import SURFACES, Scene
from fastreid_ext.rendered.scene_tracer import BOX, CYLINDER, ELLIPSOID, TEXTURES
from fastreid_ext.rendered.scenes import _BUILDERS, _FURNITURE, build_scene

PIECES = sorted({piece for kinds in _FURNITURE.values() for piece in kinds}, key=str)
CAMERAS = [(domain, camera) for domain in DOMAINS for camera in range(6)]


def generator(domain, camera):
    return np.random.default_rng([zlib.crc32(domain.encode()), camera])


def corners(scene):
    """Lowest and highest corners (K, 3) of the primitives."""
    boxes = np.array(scene.boxes)
    return boxes[:, 0] - boxes[:, 1], boxes[:, 0] + boxes[:, 1]


@pytest.mark.parametrize("name", SURFACES)
def test_surface_is_possible(name):
    first, second, nir, second_nir, texture, scale = SURFACES[name]
    assert all(0 <= value <= 255 for value in (*first, *second))
    assert 0 < min(nir, second_nir) <= max(nir, second_nir) < 1
    assert texture in TEXTURES
    assert 0.05 <= scale <= 5


def test_every_texture_is_used():
    assert {surface[4] for surface in SURFACES.values()} == set(TEXTURES)


def test_arrays_by_hand():
    scene = Scene("grass")
    scene.add(BOX, "brick", (1, 2, 3), (4, 5, 6))
    scene.add(ELLIPSOID, "leaves", (7, 8, 9), (1, 1, 2))
    kinds, boxes, surfaces, faces = scene.arrays()
    assert kinds.tolist() == [BOX, ELLIPSOID]
    assert boxes.tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 1, 1, 2]]
    names = [list(SURFACES)[face] for face in faces]
    assert names == ["brick", "leaves", "grass"]  # the ground comes last
    first, second, *rest = SURFACES["brick"]
    row = surfaces[faces[0]]
    assert row[:3] == pytest.approx(to_linear(first))
    assert row[3:6] == pytest.approx(to_linear(second))
    assert row[6:].tolist() == [rest[0], rest[1], TEXTURES.index(rest[2]), rest[3]]


def test_arrays_of_an_empty_scene():
    kinds, boxes, _, faces = Scene("asphalt").arrays()
    assert (kinds.shape, boxes.shape, faces.shape) == ((0,), (0, 6), (1,))


@pytest.mark.parametrize("piece", PIECES)
def test_furniture_is_put_where_asked(piece):
    here = Scene("asphalt")
    there = Scene("asphalt")
    piece(here, 0.0, 0.0)
    piece(there, 1.5, 7.0)
    shift = np.array([box[0] for box in there.boxes]) - np.array([box[0] for box in here.boxes])
    assert shift == pytest.approx(np.tile([1.5, 0.0, 7.0], (len(shift), 1)))
    low, high = corners(here)
    assert -0.02 <= low[:, 1].min() <= 0.2
    assert high[:, 1].max() <= 5.0
    assert np.abs([low[:, [0, 2]], high[:, [0, 2]]]).max() <= 0.9
    assert set(here.kinds) <= {BOX, CYLINDER, ELLIPSOID}


def test_a_car_rolls_on_the_ground_in_its_paint():
    scene = Scene("asphalt")
    furniture.car(scene, 0.0, 12.0, "red paint")
    low, high = corners(scene)
    assert low[:, 1].min() == pytest.approx(0)
    assert high[:, 1].max() == pytest.approx(1.41)
    assert scene.names.count("red paint") == 2
    assert scene.kinds.count(CYLINDER) == 2


@pytest.mark.parametrize(("domain", "camera"), CAMERAS)
def test_scene_is_well_formed(domain, camera):
    scene = build_scene(domain, camera, generator(domain, camera))
    assert {*scene.names, scene.ground} <= set(SURFACES)
    boxes = np.array(scene.boxes, dtype=float)
    assert boxes.shape == (len(scene.kinds), 2, 3)
    assert boxes[:, 1].min() > 0
    again = build_scene(domain, camera, generator(domain, camera))
    assert again == scene


@pytest.mark.parametrize(("domain", "camera"), CAMERAS)
def test_camera_is_outside_of_everything(domain, camera):
    low, high = corners(build_scene(domain, camera, generator(domain, camera)))
    eye = [0.0, camera_specs(domain)[camera].height, 0.0]
    assert not ((low < eye) & (eye < high)).all(axis=1).any()


@pytest.mark.parametrize(("domain", "camera"), CAMERAS)
def test_no_wall_stands_where_people_walk(domain, camera):
    """They walk within 3 m of the middle, between near and far; kerbs are lower than 5 cm."""
    low, high = corners(_BUILDERS[domain](camera, generator(domain, camera)))
    spec = camera_specs(domain)[camera]
    walls = (high - low)[:, [0, 2]].max(axis=1) > 1
    walls &= (high[:, 1] > 0.05) & (low[:, 1] < 2.0)
    beside = (low[:, 0] >= 3.0) | (high[:, 0] <= -3.0)
    beyond = low[:, 2] >= spec.far
    assert (beside | beyond)[walls].all()


@pytest.mark.parametrize("domain", DOMAINS)
def test_two_to_four_pieces_of_furniture_stand_in_the_walk(domain):
    for camera in range(6):
        scene = build_scene(domain, camera, generator(domain, camera))
        walls = _BUILDERS[domain](camera, generator(domain, camera))
        added = np.array([box[0] for box in scene.boxes[len(walls.boxes) :]])
        assert 2 <= len(added)
        assert len(np.unique(added[:, 2].round(1))) >= 2
        assert np.abs(added[:, 0]).max() <= 3.6 + 0.6
        assert 4.6 <= added[:, 2].min()
        assert added[:, 2].max() <= 10.5 + 0.3
