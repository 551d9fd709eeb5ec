"""Identities: body, skin, hair and outfit.

They follow from (seed, domain, person id) alone. Every second or fourth identity (``difficulty``)
is a look-alike of the one before it: same garments and colours, different details. Pairs never
cross the border between train and test, because the caller names the first person id of each split.
"""

import dataclasses
import zlib

import numpy as np

from fastreid_ext.bodies.body_model import BodyModel
from fastreid_ext.rendered import cloth, outfits, palettes
from fastreid_ext.rendered.cloth import Cloth
from fastreid_ext.rendered.seasons import SEASONS

_IDENTITY_STREAM = 2**31 - 1  # no image has this index

FEMININE_HAIR = {"long": 4, "ponytail": 2.5, "bob": 2, "bun": 1.2, "short": 1}
MASCULINE_HAIR = {"short": 6, "cropped": 2.5, "bald": 0.8, "long": 0.4, "bob": 0.5}


@dataclasses.dataclass(frozen=True)
class Identity:
    """One identity. ``betas``: the ten shape coefficients of the body model, about N(0, 1)."""

    person_id: int
    betas: tuple[float, ...]
    feminine: bool
    skin_tone: int
    skin: Cloth
    hair_style: str
    hair: Cloth
    beard: bool
    outfit: outfits.Outfit
    puts_bag_down: bool  # seen without the bag now and then
    look_alike_of: int | None


def stream(
    seed: int, domain: str, person_id: int, index: int = _IDENTITY_STREAM
) -> np.random.Generator:
    """Make the random generator of one image or, without ``index``, of one identity."""
    return np.random.default_rng([seed, zlib.crc32(domain.encode()), person_id, index])


def sample_identity(
    body: BodyModel,
    seed: int,
    domain: str,
    person_id: int,
    first_of_split: int,
    look_alike_period: int = 4,
) -> Identity:
    """Sample the identity of a person id; it does not depend on which others are rendered.

    Args:
        body: body model with the spread of shapes of women and men.
        seed: seed of the data set, at least 0.
        domain: name of the domain, a key of ``SEASONS``.
        person_id: number of the identity, at least 1.
        first_of_split: lowest person id of the split it belongs to (look-alikes stay inside a
            split).
        look_alike_period: identities 3, 7, 11 ... of a split resemble 2, 6, 10 ... for a period of
            4; 1, 3, 5 ... resemble 0, 2, 4 ... for one of 2.
    """
    rng = stream(seed, domain, person_id)
    own = _sample_person(body, domain, person_id, rng)
    if (person_id - first_of_split) % look_alike_period != look_alike_period - 1:
        return own
    model = _sample_person(body, domain, person_id - 1, stream(seed, domain, person_id - 1))
    return dataclasses.replace(
        own,
        feminine=model.feminine,
        betas=_sample_betas(body, model.feminine, rng),
        hair_style=palettes.sample_key(FEMININE_HAIR if model.feminine else MASCULINE_HAIR, rng),
        beard=not model.feminine and rng.random() < 0.3,
        outfit=outfits.resembling(model.outfit, SEASONS[domain], rng),
        look_alike_of=person_id - 1,
    )


def _sample_person(
    body: BodyModel, domain: str, person_id: int, rng: np.random.Generator
) -> Identity:
    feminine = bool(rng.random() < 0.48)
    tone = int(rng.choice(len(palettes.SKIN_TONES), p=[0.2, 0.28, 0.22, 0.12, 0.1, 0.08]))
    hair_colours = {"black": 5, "dark brown": 4, "brown": 2}
    if tone < 2:
        hair_colours |= {"blond": 2, "red": 0.4, "grey": 1, "white": 0.3}
    hair_colour = palettes.sample_key(hair_colours, rng)
    return Identity(
        person_id=person_id,
        betas=_sample_betas(body, feminine, rng),
        feminine=feminine,
        skin_tone=tone,
        skin=cloth.plain(
            "skin", f"tone {tone}", palettes.vary(palettes.SKIN_TONES[tone], 6.0, rng), rng
        ),
        hair_style=palettes.sample_key(FEMININE_HAIR if feminine else MASCULINE_HAIR, rng),
        hair=cloth.plain(
            "hair", hair_colour, palettes.vary(palettes.HAIR_COLOURS[hair_colour], 4.0, rng), rng
        ),
        beard=not feminine and bool(rng.random() < 0.3),
        outfit=outfits.sample_outfit(SEASONS[domain], feminine, rng),
        puts_bag_down=bool(rng.random() < 0.2),
        look_alike_of=None,
    )


def _sample_betas(body: BodyModel, feminine: bool, rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(body.sample_betas(rng, "woman" if feminine else "man").round(4).tolist())
