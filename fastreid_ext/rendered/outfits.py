"""Outfits: the clothes of one identity from collar to sole, as numbers the dresser can use.

``sleeve`` and ``leg`` are shares of the limb (0 shoulder or hip, 0.5 elbow or knee, 1 wrist or
ankle); other lengths are metres, ``hem`` below the pelvis joint.
"""

import dataclasses

import numpy as np

from fastreid_ext.rendered import cloth, palettes
from fastreid_ext.rendered.cloth import Cloth
from fastreid_ext.rendered.garments import LOWERS, UPPERS, Range
from fastreid_ext.rendered.seasons import Season

SHOES = {"sneakers": 5.0, "leather shoes": 2.0, "boots": 1.2, "sandals": 0.4}
_SHOE_COLOURS = {
    "sneakers": {"white": 4, "black": 3, "grey": 2, "red": 0.7, "blue": 0.7, "yellow": 0.2},
    "leather shoes": {"black": 4, "brown": 3, "beige": 0.6},
    "boots": {"black": 3, "brown": 3, "khaki": 1},
    "sandals": {"brown": 1, "black": 1, "beige": 1},
}
_BAG_COLOURS = {
    "black": 5,
    "navy": 2,
    "grey": 2,
    "brown": 2,
    "red": 1.2,
    "beige": 1,
    "teal": 0.7,
    "yellow": 0.5,
    "pink": 0.5,
}
_HEAD_COLOURS = {
    "black": 4,
    "navy": 2,
    "grey": 2,
    "white": 2,
    "red": 1,
    "beige": 1,
    "burgundy": 0.6,
}
_JEANS_COLOURS = {"denim blue": 3, "navy": 2, "black": 2, "light blue": 1}
_INNER_COLOURS = {"white": 4, "grey": 2, "black": 2, "light blue": 1, "red": 0.7}
_PRINT_COLOURS = {"white": 3, "black": 2, "red": 1, "yellow": 1, "blue": 1}
_PLAIN = {"plain": 1.0}
_OPENING = (0.03, 0.1)  # metres, half width of an open front


@dataclasses.dataclass(frozen=True)
class Outfit:
    """Everything worn or carried. Cloth fields are ``None`` where nothing is worn."""

    upper_kind: str
    upper: Cloth
    sleeve: float
    hem: float
    thickness: float
    ease: float
    collar: str
    opening: float  # half width of the open front at the hem, 0 = closed
    inner: Cloth
    print_kind: str  # "", "logo", "block"
    print_cloth: Cloth
    lower_kind: str
    lower: Cloth
    leg: float
    leg_ease: float
    shoe_kind: str
    shoes: Cloth
    sole: Cloth
    bag_kind: str
    bag: Cloth
    headwear_kind: str
    headwear: Cloth
    scarf: Cloth | None


def _between(bounds: Range, rng: np.random.Generator) -> float:
    return round(float(rng.uniform(*bounds)), 4)


def sample_outfit(season: Season, feminine: bool, rng: np.random.Generator) -> Outfit:
    """Sample a whole outfit of a season; skirts and dresses only for ``feminine`` identities."""
    upper_kind, lower_kind = _sample_kinds(season, feminine, rng)
    cut = UPPERS[upper_kind]
    lower_cut = LOWERS.get(lower_kind)
    opened = rng.random() < cut.open_share
    print_kind = ("logo" if rng.random() < 0.6 else "block") if rng.random() < cut.prints else ""
    upper_fabric = palettes.sample_key(cut.fabrics, rng)
    return Outfit(
        upper_kind=upper_kind,
        upper=cloth.sample_cloth(upper_fabric, season.upper_colours, cut.patterns, rng),
        sleeve=_between(cut.sleeve, rng),
        hem=_between(cut.hem, rng),
        thickness=_between(cut.thickness, rng),
        ease=_between(cut.ease, rng),
        collar=palettes.sample_key(cut.collar, rng),
        opening=_between(_OPENING, rng) if opened else 0.0,
        inner=cloth.sample_cloth("cotton", _INNER_COLOURS, _PLAIN, rng),
        print_kind=print_kind,
        print_cloth=cloth.sample_cloth("cotton", _PRINT_COLOURS, _PLAIN, rng),
        lower_kind=lower_kind,
        lower=_sample_lower(season, lower_kind, rng),
        leg=_between(lower_cut.leg, rng) if lower_cut else 0.0,
        leg_ease=_between(lower_cut.ease, rng) if lower_cut else 0.0,
        **_sample_details(season, rng),
    )


def _sample_kinds(season: Season, feminine: bool, rng: np.random.Generator) -> tuple[str, str]:
    uppers = dict(season.upper)
    lowers = dict(season.lower)
    if not feminine:
        uppers.pop("dress", None)
        lowers = {
            kind: weight
            for kind, weight in lowers.items()
            if not LOWERS[kind].skirt and kind != "leggings"
        }
    upper = palettes.sample_key(uppers, rng)
    if upper == "dress":
        return upper, "leggings" if rng.random() < 0.3 else "bare legs"
    return upper, palettes.sample_key(lowers, rng)


def _sample_lower(season: Season, kind: str, rng: np.random.Generator) -> Cloth:
    if kind not in LOWERS:  # bare legs: this cloth is not seen
        return cloth.sample_cloth("cotton", season.lower_colours, _PLAIN, rng)
    cut = LOWERS[kind]
    colours = _JEANS_COLOURS if kind == "jeans" else season.lower_colours
    return cloth.sample_cloth(palettes.sample_key(cut.fabrics, rng), colours, cut.patterns, rng)


def _sample_details(season: Season, rng: np.random.Generator) -> dict:
    """Sample shoes, bag, headwear and scarf, which tell two look-alikes apart."""
    shoe_kind = palettes.sample_key(SHOES, rng)
    headwear_kind = palettes.sample_key(season.headwear, rng)
    bag_fabric = "leather" if rng.random() < 0.35 else "nylon"
    sole_colour = "white" if shoe_kind == "sneakers" and rng.random() < 0.7 else "black"
    return {
        "shoe_kind": shoe_kind,
        "shoes": cloth.sample_cloth("leather", _SHOE_COLOURS[shoe_kind], _PLAIN, rng),
        "sole": cloth.plain(
            "rubber", sole_colour, palettes.vary(palettes.COLOURS[sole_colour], 6.0, rng), rng
        ),
        "bag_kind": palettes.sample_key(season.bags, rng),
        "bag": cloth.sample_cloth(bag_fabric, _BAG_COLOURS, {"plain": 4, "colour block": 1}, rng),
        "headwear_kind": headwear_kind,
        "headwear": cloth.sample_cloth(
            "wool" if headwear_kind == "beanie" else "cotton", _HEAD_COLOURS, _PLAIN, rng
        ),
        "scarf": cloth.sample_cloth("wool", _HEAD_COLOURS, {"plain": 2, "checks": 1}, rng)
        if rng.random() < season.scarf_share
        else None,
    }


def resembling(outfit: Outfit, season: Season, rng: np.random.Generator) -> Outfit:
    """Sample a look-alike's outfit: same garments and colours, other details.

    Details are shoes, bag, headwear, scarf, sleeve, hem, collar, print and NIR reflectance.
    """
    cut = UPPERS[outfit.upper_kind]
    return dataclasses.replace(
        outfit,
        upper=dataclasses.replace(outfit.upper, nir=cloth.sample_nir(outfit.upper.fabric, rng)),
        lower=dataclasses.replace(outfit.lower, nir=cloth.sample_nir(outfit.lower.fabric, rng)),
        sleeve=_between(cut.sleeve, rng),
        hem=_between(cut.hem, rng),
        collar=palettes.sample_key(cut.collar, rng),
        print_kind="" if outfit.print_kind else ("logo" if rng.random() < cut.prints else ""),
        **_sample_details(season, rng),
    )
