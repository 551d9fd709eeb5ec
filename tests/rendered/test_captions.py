"""Captions name what is rendered, and read as English."""

import dataclasses

import pytest

from fastreid_ext.rendered.captions import caption, view_name
from fastreid_ext.rendered.cloth import PATTERNS, Cloth
from fastreid_ext.rendered.domains import DOMAINS
from fastreid_ext.rendered.dressing import free_body
from fastreid_ext.rendered.identities import (
    FEMININE_HAIR,
    MASCULINE_HAIR,
    sample_identity,
)

CLOTH = Cloth("cotton", "red", (0.5, 0.0, 0.0), 0.5)


@pytest.fixture
def described(identity):
    """A man of whom every word of the caption is known."""
    outfit = dataclasses.replace(
        identity.outfit,
        upper_kind="coat",
        upper=dataclasses.replace(CLOTH, colour="olive"),
        lower_kind="jeans",
        lower=dataclasses.replace(CLOTH, colour="navy"),
        shoe_kind="leather shoes",
        shoes=dataclasses.replace(CLOTH, colour="brown"),
        headwear_kind="none",
        scarf=None,
        bag=dataclasses.replace(CLOTH, colour="orange"),
    )
    hair = dataclasses.replace(CLOTH, colour="black")
    return dataclasses.replace(
        identity, feminine=False, hair_style="short", hair=hair, outfit=outfit
    )


def wearing(identity, **changes):
    return dataclasses.replace(identity, outfit=dataclasses.replace(identity.outfit, **changes))


def test_caption_whole_sentence(described):
    assert caption(described, "none", "walking", 10.0) == (
        "a man with short black hair wearing an olive coat, navy jeans and brown shoes, "
        "walking, front view"
    )


def test_caption_headwear_scarf_and_bag(described):
    full = wearing(described, headwear_kind="cap", headwear=CLOTH, scarf=CLOTH)
    assert caption(full, "suitcase", "phone", -170.0) == (
        "a man with short black hair wearing an olive coat, navy jeans, brown shoes, a red cap "
        "and a red scarf, with an orange suitcase, using a phone, back view"
    )


def test_caption_without_hair_and_with_bare_legs(described):
    bare = wearing(described, upper_kind="dress", lower_kind="bare legs", shoe_kind="sandals")
    bald = dataclasses.replace(bare, hair_style="bald", feminine=True)
    assert caption(bald, "none", "standing", 90.0) == (
        "a woman with no hair wearing an olive dress and brown sandals, standing, side view"
    )


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("horizontal stripes", "a striped red and white coat"),
        ("vertical stripes", "a pin-striped red and white coat"),
        ("checks", "a checked red and white coat"),
        ("colour block", "a colour block red and white coat"),
        ("speckled", "a speckled red and white coat"),
    ],
)
def test_caption_pattern(described, pattern, words):
    cloth = dataclasses.replace(CLOTH, pattern=pattern, second_colour="white")
    assert words in caption(wearing(described, upper=cloth), "none", "walking", 0.0)


@pytest.mark.parametrize("pattern", ["plain", "quilted"])
def test_caption_of_one_colour_names_one_colour(described, pattern):
    assert pattern in PATTERNS
    cloth = dataclasses.replace(CLOTH, pattern=pattern, second_colour="")
    text = caption(wearing(described, upper=cloth), "none", "walking", 0.0)
    assert "wearing a red coat," in text


@pytest.mark.parametrize(
    ("azimuth", "name"),
    [(0, "front"), (45, "front"), (-45, "front"), (45.1, "side"), (-90, "side"), (135, "side"),
     (-135.1, "back"), (180, "back"), (-180, "back")],
)  # fmt: skip
def test_view_name_borders(azimuth, name):
    assert view_name(azimuth) == f"{name} view"


@pytest.mark.parametrize("style", sorted(FEMININE_HAIR | MASCULINE_HAIR))
def test_caption_names_every_hair_style(described, style):
    text = caption(dataclasses.replace(described, hair_style=style), "none", "walking", 0.0)
    hair = text.split(" wearing ")[0]
    assert "{" not in hair
    assert ("black" in hair) == (style != "bald")
    assert style in hair or style in ("bald",)


@pytest.mark.parametrize("stance", ["walking", "standing", "carrying", "phone", "unusual"])
def test_caption_says_the_stance_with_a_verb(described, stance):
    action = caption(described, "none", stance, 0.0).split(", ")[-2]
    assert action.split()[0] in ("walking", "standing", "carrying", "using", "moving")


@pytest.mark.parametrize("domain", DOMAINS)
def test_caption_mentions_everything_that_is_worn(domain):
    for person_id in range(1, 30):
        person = sample_identity(free_body()[0], 9, domain, person_id, 1)
        outfit = person.outfit
        text = caption(person, outfit.bag_kind, "walking", 0.0)
        assert text.startswith("a woman" if person.feminine else "a man")
        for kind, cloth in (
            (outfit.upper_kind, outfit.upper),
            (outfit.lower_kind, outfit.lower),
            (outfit.headwear_kind, outfit.headwear),
            (outfit.bag_kind, outfit.bag),
        ):
            if kind not in ("none", "bare legs"):
                start = text.index(kind) - 1
                end = text[:start].split(", ")[-1]
                assert cloth.colour in end
                assert cloth.second_colour in end
        assert ("scarf" in text.replace("headscarf", "")) == (outfit.scarf is not None)
        assert not any(wrong in text for wrong in ("  ", ",,", " a a", " a o", " an b", "none"))
