"""Sampled identities: look-alikes, splits, infrared reflectance, the plan."""

import dataclasses

import numpy as np
import pytest

from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.rendered.captions import caption
from fastreid_ext.rendered.cloth import FABRICS, sample_cloth
from fastreid_ext.rendered.domains import DOMAINS
from fastreid_ext.rendered.identities import sample_identity
from fastreid_ext.rendered.plan import GALLERY, QUERY, TRAIN, Settings, plan_domain
from fastreid_ext.rendered.seasons import SEASONS


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("period", [2, 4])
def test_every_second_or_fourth_identity_is_a_look_alike(body, domain, period):
    people = [sample_identity(body, 3, domain, pid, 1, period) for pid in range(1, 41)]
    for person in people:
        if person.person_id % period:
            assert person.look_alike_of is None
            continue
        model = people[person.person_id - 2]
        assert person.look_alike_of == model.person_id
        for garment in ("upper", "lower"):
            own = getattr(person.outfit, garment)
            other = getattr(model.outfit, garment)
            assert (own.rgb, own.pattern) == (other.rgb, other.pattern)
        assert person.outfit != model.outfit
        assert person.betas != model.betas


def test_an_identity_does_not_depend_on_which_others_are_rendered(body):
    alone = sample_identity(body, 3, "RenderedMall", 17, 1)
    [sample_identity(body, 3, "RenderedMall", pid, 1) for pid in range(1, 17)]
    assert sample_identity(body, 3, "RenderedMall", 17, 1) == alone
    assert sample_identity(body, 4, "RenderedMall", 17, 1) != alone
    assert sample_identity(body, 3, "RenderedStreet", 17, 1) != alone


def test_infrared_reflectance_follows_the_fabric_and_not_the_colour():
    rng = np.random.default_rng(0)
    cloths = [
        sample_cloth("cotton", {"black": 1, "white": 1}, {"plain": 1}, rng) for _ in range(600)
    ]
    low, high, _, _ = FABRICS["cotton"]
    assert all(low <= cloth.nir <= high for cloth in cloths)
    brightness = np.array([sum(cloth.rgb) for cloth in cloths])
    assert abs(np.corrcoef(brightness, [cloth.nir for cloth in cloths])[0, 1]) < 0.12
    leather = sample_cloth("leather", {"white": 1}, {"plain": 1}, rng)
    assert leather.nir < low


def test_train_and_test_people_are_disjoint_and_look_alikes_stay_in_their_split():
    planned = plan_domain(Settings("RenderedCampus", 6, 5, 8, 1))
    assert [identity.person_id for identity in planned] == list(range(1, 12))
    for identity in planned:
        folders = {image.file.split("/")[0] for image in identity.images}
        assert folders == ({TRAIN} if identity.person_id <= 6 else {QUERY, GALLERY})
        assert identity.first_of_split == (1 if identity.person_id <= 6 else 7)


@pytest.mark.parametrize("domain", ["RenderedStreet", "RenderedVI"])
@pytest.mark.parametrize("count", [4, 7, 12, 30])
def test_every_query_has_a_right_answer_at_another_camera(domain, count):
    for identity in plan_domain(Settings(domain, 0, 20, count, 5)):
        queries = [image.camera for image in identity.images if image.file.startswith(QUERY)]
        gallery = {image.camera for image in identity.images if image.file.startswith(GALLERY)}
        assert queries
        assert len(identity.images) == count
        assert all(gallery - {camera} for camera in queries)
        if domain == "RenderedStreet":
            assert len(queries) == len(set(queries))


def test_all_cameras_are_used_about_equally():
    planned = plan_domain(Settings("RenderedMall", 200, 0, 12, 0))
    counts = np.bincount(
        [image.camera for identity in planned for image in identity.images], minlength=6
    )
    assert counts.min() > 0.8 * counts.mean()


def test_wardrobes_of_domains_differ():
    kinds = [frozenset(season.upper) for season in SEASONS.values()]
    assert len(set(kinds)) == len(kinds)


def test_caption_says_what_is_worn(body):
    person = sample_identity(body, 3, "RenderedStation", 5, 1)
    text = caption(dataclasses.replace(person, feminine=True), "suitcase", "walking", -100.0)
    assert text.startswith("a woman with")
    assert person.outfit.upper.colour in text
    assert person.outfit.upper_kind in text
    assert text.endswith("walking, side view")
    assert "suitcase" in text
