"""Outfits: what one person wears from collar to sole, as numbers the dresser can use.

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


def draw_outfit(season: Season, feminine: bool, rng: np.random.Generator) -> Outfit:
    """A whole outfit of the season; skirts and dresses only for ``feminine`` identities."""
    uppers, lowers = dict(season.upper), dict(season.lower)
    if not feminine:
        uppers.pop("dress", None)
        lowers = {
            kind: weight
            for kind, weight in lowers.items()
            if not LOWERS[kind].skirt and kind != "leggings"
        }
    upper_kind = palettes.draw(uppers, rng)
    cut = UPPERS[upper_kind]
    lower_kind = (
        "leggings" if upper_kind == "dress" and rng.random() < 0.3 else palettes.draw(lowers, rng)
    )
    if upper_kind == "dress" and lower_kind != "leggings":
        lower_kind = "bare legs"
    lower_cut = LOWERS.get(lower_kind)
    opened = rng.random() < cut.open_share
    print_kind = ("logo" if rng.random() < 0.6 else "block") if rng.random() < cut.prints else ""
    plain = {"plain": 1.0}
    return Outfit(
        upper_kind=upper_kind,
        upper=cloth.draw_cloth(
            palettes.draw(cut.fabrics, rng), season.upper_colours, cut.patterns, rng
        ),
        sleeve=_between(cut.sleeve, rng),
        hem=_between(cut.hem, rng),
        thickness=_between(cut.thickness, rng),
        ease=_between(cut.ease, rng),
        collar=palettes.draw(cut.collar, rng),
        opening=_between((0.03, 0.1), rng) if opened else 0.0,
        inner=cloth.draw_cloth(
            "cotton", {"white": 4, "grey": 2, "black": 2, "light blue": 1, "red": 0.7}, plain, rng
        ),
        print_kind=print_kind,
        print_cloth=cloth.draw_cloth(
            "cotton", {"white": 3, "black": 2, "red": 1, "yellow": 1, "blue": 1}, plain, rng
        ),
        lower_kind=lower_kind,
        lower=cloth.draw_cloth(
            palettes.draw(lower_cut.fabrics, rng) if lower_cut else "cotton",
            {"denim blue": 3, "navy": 2, "black": 2, "light blue": 1}
            if lower_kind == "jeans"
            else season.lower_colours,
            lower_cut.patterns if lower_cut else plain,
            rng,
        ),
        leg=_between(lower_cut.leg, rng) if lower_cut else 0.0,
        leg_ease=_between(lower_cut.ease, rng) if lower_cut else 0.0,
        **_draw_details(season, rng),
    )


def _draw_details(season: Season, rng: np.random.Generator) -> dict:
    """Shoes, bag, headwear, scarf: what tells two look-alikes apart."""
    shoe_kind = palettes.draw(SHOES, rng)
    headwear_kind = palettes.draw(season.headwear, rng)
    bag_fabric = "leather" if rng.random() < 0.35 else "nylon"
    plain = {"plain": 1.0}
    sole_colour = "white" if shoe_kind == "sneakers" and rng.random() < 0.7 else "black"
    return {
        "shoe_kind": shoe_kind,
        "shoes": cloth.draw_cloth("leather", _SHOE_COLOURS[shoe_kind], plain, rng),
        "sole": cloth.plain(
            "rubber", sole_colour, palettes.vary(palettes.COLOURS[sole_colour], 6.0, rng), rng
        ),
        "bag_kind": palettes.draw(season.bags, rng),
        "bag": cloth.draw_cloth(bag_fabric, _BAG_COLOURS, {"plain": 4, "colour block": 1}, rng),
        "headwear_kind": headwear_kind,
        "headwear": cloth.draw_cloth(
            "wool" if headwear_kind == "beanie" else "cotton", _HEAD_COLOURS, plain, rng
        ),
        "scarf": cloth.draw_cloth("wool", _HEAD_COLOURS, {"plain": 2, "checks": 1}, rng)
        if rng.random() < season.scarf_share
        else None,
    }


def resembling(outfit: Outfit, season: Season, rng: np.random.Generator) -> Outfit:
    """A look-alike: same garments and colours, other details (shoes, bag, hat, sleeve, print)."""
    cut = UPPERS[outfit.upper_kind]
    return dataclasses.replace(
        outfit,
        upper=dataclasses.replace(outfit.upper, nir=cloth.draw_nir(outfit.upper.fabric, rng)),
        lower=dataclasses.replace(outfit.lower, nir=cloth.draw_nir(outfit.lower.fabric, rng)),
        sleeve=_between(cut.sleeve, rng),
        hem=_between(cut.hem, rng),
        collar=palettes.draw(cut.collar, rng),
        print_kind="" if outfit.print_kind else ("logo" if rng.random() < cut.prints else ""),
        **_draw_details(season, rng),
    )
