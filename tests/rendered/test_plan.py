"""The plan: counts, names, splits and cameras, before anything is rendered."""

import collections
import re

import numpy as np
import pytest

from fastreid_ext.rendered.domains import DOMAINS, camera_specs
from fastreid_ext.rendered.plan import (
    FOLDERS,
    GALLERY,
    QUERY,
    TRAIN,
    Settings,
    plan_domain,
    plan_identity,
)


def settings(domain="RenderedCampus", **changes):
    values = {"train_identities": 5, "test_identities": 7, "images_per_identity": 12, "seed": 2}
    return Settings(domain, **(values | changes))


def images_of(planned):
    return [image for identity in planned for image in identity.images]


@pytest.mark.parametrize("domain", DOMAINS)
def test_plan_counts(domain):
    planned = plan_domain(settings(domain))
    assert len(planned) == 12
    folders = collections.Counter(image.file.split("/")[0] for image in images_of(planned))
    assert set(folders) == set(FOLDERS)
    assert sum(folders.values()) == 12 * 12
    assert folders[TRAIN] == 5 * 12


@pytest.mark.parametrize("domain", DOMAINS)
def test_names_say_identity_camera_session_and_number(domain):
    planned = plan_domain(settings(domain))
    for identity in planned:
        for number, image in enumerate(identity.images):
            name = re.fullmatch(r"(\d{4})_c([1-6])s(\d)_(\d{6})_00\.jpg", image.file.split("/")[1])
            found = [int(part) for part in name.groups()]
            assert found == [identity.person_id, image.camera + 1, identity.session + 1, number + 1]
            assert image.index == number
    files = [image.file for image in images_of(planned)]
    assert len(set(files)) == len(files)


def test_equal_settings_give_equal_plans():
    assert plan_domain(settings()) == plan_domain(settings())
    assert plan_domain(settings()) != plan_domain(settings(seed=3))


def test_an_identity_is_planned_alike_in_a_larger_set():
    few = plan_domain(settings())
    many = plan_domain(settings(test_identities=40))
    assert many[: len(few)] == few
    assert plan_identity(settings(), 9) == few[8]


@pytest.mark.parametrize("domain", [name for name in DOMAINS if name != "RenderedVI"])
@pytest.mark.parametrize("count", [4, 9, 12, 25])
def test_test_identities_give_one_query_per_camera(domain, count):
    for identity in plan_domain(settings(domain, train_identities=0, images_per_identity=count)):
        queries = [image.camera for image in identity.images if image.file.startswith(QUERY)]
        assert sorted(queries) == sorted({image.camera for image in identity.images})


def test_queries_are_not_always_the_first_at_a_camera():
    first = []
    for identity in plan_domain(settings(train_identities=0, images_per_identity=24)):
        for camera in {image.camera for image in identity.images}:
            at = [image.file for image in identity.images if image.camera == camera]
            first.append(at[0].startswith(QUERY))
    assert 0.05 < np.mean(first) < 0.6


def test_infrared_is_query_and_visible_is_gallery():
    dark = [spec.infrared for spec in camera_specs("RenderedVI")]
    for image in images_of(plan_domain(settings("RenderedVI", train_identities=0))):
        assert image.file.startswith(QUERY if dark[image.camera] else GALLERY)


@pytest.mark.parametrize("count", [4, 5, 8, 12, 31])
def test_images_spread_evenly_over_cameras(count):
    for identity in plan_domain(settings(images_per_identity=count)):
        seen = collections.Counter(image.camera for image in identity.images)
        assert max(seen.values()) - min(seen.values()) <= 1
        assert min(seen.values()) >= 2
        assert 2 <= len(seen) <= min(6, count // 2)


def test_most_identities_pass_all_cameras_that_their_images_allow():
    planned = plan_domain(settings(train_identities=1500, test_identities=0))
    counts = [len({image.camera for image in identity.images}) for identity in planned]
    for cameras, share in ((6, 0.6), (5, 0.25), (4, 0.15)):
        assert counts.count(cameras) / 1500 == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(("count", "infrared"), [(4, {1}), (8, {1}), (12, {1, 2})])
def test_one_camera_of_three_is_infrared(count, infrared):
    dark = [spec.infrared for spec in camera_specs("RenderedVI")]
    found = set()
    for identity in plan_domain(settings("RenderedVI", images_per_identity=count)):
        cameras = {image.camera for image in identity.images}
        found.add(sum(dark[camera] for camera in cameras))
        assert any(not dark[camera] for camera in cameras)
    assert found == infrared


@pytest.mark.parametrize(
    "possible",
    [
        {"height": 32, "width": 16},
        {"height": 1024, "width": 1024},
        {"train_identities": 0},
        {"test_identities": 0},
        {"images_per_identity": 4},
        {"seed": 0},
        {"unusual_poses": 0.0},
        {"unusual_poses": 1.0},
    ],
)
def test_settings_at_the_border_are_accepted(possible):
    assert settings(**possible)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_identities": -1}, "got -1 for training and 7 for test; raise one of them"),
        ({"test_identities": -3}, "got 5 for training and -3 for test"),
        ({"unusual_poses": -0.1}, r"expected unusual_poses in \[0, 1\], got -0.1"),
        ({"unusual_poses": float("nan")}, "got nan"),
        ({"width": 15}, "got 128x15"),
        ({"height": 31}, "got 31x64"),
        ({"width": 1025}, "got 128x1025"),
        ({"height": 1025}, r"expected a size between 32x16 and 1024x1024 .*got 1025x64"),
        ({"domain": "Mall"}, "got 'Mall'; use one of these names"),
        ({"difficulty": "medium"}, "expected difficulty easy or hard, got 'medium'"),
    ],
)
def test_impossible_settings_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        settings(**change)
