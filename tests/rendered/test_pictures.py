"""Rendered pictures agree with their ground truth."""

import dataclasses

import numpy as np
import pytest

from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.bodies.poses import standing
from fastreid_ext.pictures.contact_sheet import decode
from fastreid_ext.rendered.camera_effects import encode, expose
from fastreid_ext.rendered.cloth import Cloth
from fastreid_ext.rendered.difficulty import difficulty
from fastreid_ext.rendered.dressing import dress
from fastreid_ext.rendered.identities import sample_identity
from fastreid_ext.rendered.person_renderer import render
from fastreid_ext.rendered.plan import Settings, plan_identity
from fastreid_ext.rendered.rendered_images import render_images
from fastreid_ext.rendered.shots import sample_shot
from fastreid_ext.rendered.views import view

SPINE2 = 6
LEFT_KNEE = 4
LEFT_SHOULDER = 16
RIGHT_SHOULDER = 17


def person(upper: Cloth, lower: Cloth, **changes):
    identity = sample_identity(load_body(), 0, "RenderedVI", 1, 1)
    outfit = dataclasses.replace(
        identity.outfit,
        upper_kind="t-shirt",
        upper=upper,
        opening=0.0,
        print_kind="",
        scarf=None,
        collar="round",
        hem=0.1,
        sleeve=0.4,
        lower_kind="jeans",
        lower=lower,
        leg=1.0,
        leg_ease=0.01,
        **changes,
    )
    return dataclasses.replace(identity, outfit=outfit)


def frontal(place):
    """A person who stands in the open in front of the camera and looks into it."""
    rng = np.random.default_rng(4)
    shot = sample_shot(place, "none", 0, rng, level=difficulty("easy"))
    return dataclasses.replace(
        shot,
        x=0.0,
        z=place.spec.near,
        yaw=np.pi,
        pose=standing(rng, "relaxed"),
        motion_length=0.0,
        box_scale=1.1,
        box_aspect=0.45,
        box_shift=(0.0, 0.0),
        exposure=1.0,
        gains=np.ones(3),
        sun=0.6,
        fill=1.0,
    )


def render_at(identity, camera: int):
    place = view("RenderedVI", camera)
    shot = frontal(place)
    rendering = render(place, dress(identity, "none", 0, "RenderedVI"), [], shot, 128, 64)
    picture = expose(
        rendering.radiance, rendering.box, place.spec, shot, 128, 64, np.random.default_rng(0)
    )
    return picture, rendering, place


def pixel_of(joint: int, rendering, place) -> tuple[int, int]:
    """Row and column of a joint, from the annotation's camera and box alone."""
    x, y, z = place.rotation @ (rendering.joints[joint] - place.position)
    column = (place.focal * x / z + 720 / 2 - rendering.box[0]) / rendering.box[2] * 64
    row = (place.focal * y / z + 540 / 2 - rendering.box[1]) / rendering.box[3] * 128
    return int(row), int(column)


RED = Cloth("cotton", "red", (0.5, 0.02, 0.02), nir=0.6)
BLUE = Cloth("denim", "blue", (0.02, 0.04, 0.4), nir=0.4)
GREEN = Cloth("cotton", "green", (0.02, 0.4, 0.02), nir=0.6)


def test_chest_and_knee_show_the_colours_of_the_annotations():
    picture, rendering, place = render_at(person(RED, BLUE), camera=0)
    row, column = pixel_of(SPINE2, rendering, place)
    red, green, blue = (
        picture[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).mean(axis=0)
    )
    assert red > 2 * green
    assert red > 2 * blue
    row, column = pixel_of(LEFT_KNEE, rendering, place)
    red, green, blue = (
        picture[row - 2 : row + 3, column - 1 : column + 2].reshape(-1, 3).mean(axis=0)
    )
    assert blue > 1.4 * red
    assert blue > 1.2 * green


def test_infrared_sees_material_and_not_colour():
    red, rendering, place = render_at(person(RED, BLUE), camera=2)
    green, _, _ = render_at(person(GREEN, BLUE), camera=2)
    dark, _, _ = render_at(person(dataclasses.replace(RED, nir=0.15), BLUE), camera=2)
    assert np.array_equal(red, green)
    row, column = pixel_of(SPINE2, rendering, place)
    chest = np.s_[row - 2 : row + 3, column - 2 : column + 3]
    assert red[chest].mean() > 1.3 * dark[chest].mean()
    assert np.array_equal(red[..., 0], red[..., 2])
    assert np.abs(np.diff(decode(encode(red, 80)).astype(int), axis=2)).max() == 0


def test_visible_does_not_see_infrared_reflectance():
    bright, _, _ = render_at(person(RED, BLUE), camera=0)
    dark, _, _ = render_at(person(dataclasses.replace(RED, nir=0.15), BLUE), camera=0)
    assert np.array_equal(bright, dark)


@pytest.mark.parametrize(("yaw_deg", "azimuth"), [(180, 0.0), (0, 180.0), (90, 90.0), (-90, -90.0)])
def test_azimuth_is_zero_for_a_face_and_ninety_for_the_left_side(yaw_deg, azimuth):
    place = view("RenderedVI", 0)
    shot = dataclasses.replace(frontal(place), yaw=np.deg2rad(yaw_deg))
    assert shot.azimuth_deg() == pytest.approx(azimuth, abs=1e-6)
    # The camera stands at z = 0 and looks along +z; it sees the side whose shoulder is nearer.
    joints = render(
        place, dress(person(RED, BLUE), "none", 0, "RenderedVI"), [], shot, 64, 32
    ).joints
    left_is_nearer = joints[RIGHT_SHOULDER, 2] - joints[LEFT_SHOULDER, 2]
    assert np.sign(left_is_nearer.round(1)) == np.sign(np.sin(np.deg2rad(azimuth)).round(6))


def test_a_picture_depends_on_its_own_index_alone():
    settings = Settings("RenderedVI", 2, 0, 6, 7)
    planned = plan_identity(settings, 2)
    whole = {image.file: jpeg for image, jpeg, _ in render_images(settings, planned)}
    last = dataclasses.replace(planned, images=planned.images[-1:])
    ((image, jpeg, _),) = render_images(settings, last)
    assert whole[image.file] == jpeg


def test_cameras_of_a_domain_differ_in_colour_and_sharpness():
    places = [view("RenderedVI", camera) for camera in (0, 1, 3, 4)]
    pictures = [render_at(person(RED, BLUE), camera)[0].astype(float) for camera in (0, 1, 3, 4)]
    assert len({place.spec for place in places}) == 4
    means = np.array([picture.mean(axis=(0, 1)) for picture in pictures])
    gaps = np.linalg.norm(means[:, None] - means[None], axis=-1)[np.triu_indices(4, 1)]
    assert gaps.min() > 3.0
    sharpness = [np.abs(np.diff(picture, axis=0)).mean() for picture in pictures]
    assert max(sharpness) > 1.15 * min(sharpness)


def test_somebody_behind_a_wall_is_reported_hidden():
    place = view("RenderedVI", 0)
    wall = dataclasses.replace(place, depth=np.full_like(place.depth, 1.0))
    rendering = render(
        wall, dress(person(RED, BLUE), "none", 0, "RenderedVI"), [], frontal(place), 64, 32
    )
    assert rendering.visible == 0.0
    open_air = dataclasses.replace(place, depth=np.full_like(place.depth, 100.0))
    rendering = render(
        open_air, dress(person(RED, BLUE), "none", 0, "RenderedVI"), [], frontal(place), 64, 32
    )
    assert rendering.visible == 1.0
