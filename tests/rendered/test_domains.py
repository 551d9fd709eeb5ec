"""The camera networks: possible cameras, and the character that each domain claims."""

import dataclasses

import numpy as np
import pytest

from fastreid_ext.rendered.domains import DOMAINS, camera_specs
from fastreid_ext.rendered.views import FRAME_HEIGHT, FRAME_WIDTH


def mean(domain, value):
    return np.mean([value(spec) for spec in DOMAINS[domain] if not spec.infrared])


def extreme(value, best=max):
    """Domain whose visible cameras have the largest mean (or smallest, with ``min``) of a value."""
    return best(DOMAINS, key=lambda domain: mean(domain, value))


@pytest.mark.parametrize("domain", DOMAINS)
def test_camera_specs_are_possible(domain):
    specs = camera_specs(domain)
    assert len(specs) == 6
    for spec in specs:
        assert 2 < spec.height < 6
        assert 3.5 < spec.near < spec.far < 12
        assert 0 < spec.spread <= 90
        assert 0.5 < min(*spec.gains, spec.exposure) <= max(*spec.gains, spec.exposure) < 1.5
        assert 1.8 <= spec.gamma <= 2.6
        assert 0 < spec.contrast < 1.5
        assert 32 <= spec.native <= 128
        assert 0 < spec.noise < 10
        assert 60 <= spec.quality <= 95
        assert -180 <= spec.sun[0] <= 180
        assert 5 <= spec.sun[1] <= 90


@pytest.mark.parametrize("domain", DOMAINS)
def test_cameras_of_a_domain_differ_in_every_picture_they_take(domain):
    specs = camera_specs(domain)
    assert len({spec.height for spec in specs}) == 6
    assert len({dataclasses.astuple(spec)[6:15] for spec in specs}) == 6


def test_only_cameras_3_and_6_of_rendered_vi_are_infrared():
    infrared = {
        (domain, number + 1)
        for domain in DOMAINS
        for number, spec in enumerate(camera_specs(domain))
        if spec.infrared
    }
    assert infrared == {("RenderedVI", 3), ("RenderedVI", 6)}


def test_infrared_cameras_see_no_colour_and_light_the_scene_themselves():
    for number in (2, 5):
        spec = camera_specs("RenderedVI")[number]
        assert spec.gains == (1.0, 1.0, 1.0)
        assert spec.saturation == 0.0
        assert spec.fill < 0.1 < spec.sun[2]


def test_domains_have_the_character_they_claim():
    assert extreme(lambda spec: spec.gains[0] / spec.gains[2]) == "RenderedMall"  # warm
    assert extreme(lambda spec: spec.gains[0] / spec.gains[2], min) == "RenderedStation"  # cool
    assert extreme(lambda spec: spec.noise) == "RenderedStation"
    assert extreme(lambda spec: spec.sun[2]) == "RenderedStreet"  # hard sun
    assert extreme(lambda spec: spec.height) == "RenderedStreet"  # from high up
    light = lambda spec: spec.fill + spec.sun[2] * np.sin(np.radians(spec.sun[1]))  # noqa: E731
    assert extreme(light, min) == "RenderedStation"  # dim


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_body_between_near_and_far_fits_into_the_frame(domain):
    """A body of 1.8 m in the middle of the picture, projected by hand."""
    for spec in camera_specs(domain):
        aim = np.array([0.85 - spec.height, (spec.near + spec.far) / 2])
        forward = aim / np.linalg.norm(aim)
        down = np.array([-forward[1], forward[0]])
        for z in (spec.near, spec.far):
            rows = []
            for y in (0.0, 1.8):
                ray = np.array([y - spec.height, z])
                scale = spec.focal * FRAME_HEIGHT / (ray @ forward)
                rows.append(FRAME_HEIGHT / 2 + (ray @ down) * scale)
            assert -0.1 * FRAME_HEIGHT < rows[1] < rows[0] < 1.1 * FRAME_HEIGHT
            assert rows[0] - rows[1] > 64
    assert FRAME_WIDTH > FRAME_HEIGHT


def test_camera_specs_of_an_unknown_domain():
    with pytest.raises(
        ValueError, match=r"expected a domain of RenderedCampus, .*got 'Market'; use one of these"
    ):
        camera_specs("Market")
