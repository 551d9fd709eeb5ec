"""Outfits: what one person wears from collar to sole, as numbers the dresser can turn into geometry.

Lengths are metres; ``sleeve`` and ``leg`` are shares of the limb (0 shoulder or hip, 0.5 elbow or knee, 1 wrist or ankle);
``hem`` is metres below the pelvis joint.
"""

import dataclasses

import numpy as np

from fastreid_ext.rendered import cloth, palettes
from fastreid_ext.rendered.cloth import Cloth
from fastreid_ext.rendered.seasons import Season

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class UpperKind:
    """How one kind of upper garment is cut."""

    fabrics: dict[str, float]
    sleeve: Range
    hem: Range
    thickness: Range
    ease: Range  # how far the cloth hangs off the body
    collar: dict[str, float]
    patterns: dict[str, float]
    open_share: float = 0.0  # how often it is worn open over an inner garment
    prints: float = 0.0  # how often it carries a chest print


@dataclasses.dataclass(frozen=True)
class LowerKind:
    """How one kind of lower garment is cut."""

    fabrics: dict[str, float]
    leg: Range
    ease: Range
    patterns: dict[str, float]
    skirt: bool = False


_PLAIN = {"plain": 1.0}
_TEE = {"plain": 5, "horizontal stripes": 1.6, "colour block": 1.2, "vertical stripes": 0.3, "speckled": 0.6}
_SHIRT = {"plain": 4, "checks": 2.5, "vertical stripes": 1.5, "speckled": 0.6}
_KNIT = {"plain": 5, "horizontal stripes": 1.5, "colour block": 1, "speckled": 1}
_SHELL = {"plain": 5, "colour block": 2}

UPPERS: dict[str, UpperKind] = {
    "t-shirt": UpperKind(
        {"cotton": 3, "polyester": 1}, (0.26, 0.46), (0.05, 0.16), (0.005, 0.009), (0.01, 0.05), {"round": 3, "v": 1}, _TEE, 0, 0.4
    ),
    "polo": UpperKind({"cotton": 1}, (0.28, 0.42), (0.06, 0.13), (0.006, 0.01), (0.01, 0.035), {"shirt": 1}, _TEE),
    "tank top": UpperKind({"cotton": 2, "polyester": 1}, (0.0, 0.06), (0.03, 0.12), (0.004, 0.007), (0.0, 0.03), {"v": 1, "round": 1}, _TEE, 0, 0.2),
    "shirt": UpperKind({"cotton": 3, "linen": 1}, (0.5, 1.0), (0.08, 0.18), (0.006, 0.01), (0.015, 0.05), {"shirt": 1}, _SHIRT, 0.2),
    "sweater": UpperKind({"wool": 3, "cotton": 1}, (0.9, 1.0), (0.04, 0.14), (0.012, 0.02), (0.02, 0.05), {"round": 3, "v": 1, "high": 1}, _KNIT),
    "hoodie": UpperKind({"cotton": 3, "polyester": 1}, (0.92, 1.0), (0.05, 0.14), (0.016, 0.026), (0.02, 0.06), {"hood": 1}, _SHELL, 0.35, 0.4),
    "jacket": UpperKind({"denim": 1, "leather": 1, "polyester": 2, "nylon": 1}, (0.92, 1.0), (0.03, 0.16), (0.018, 0.03), (0.02, 0.06), {"high": 2, "hood": 1, "shirt": 1}, _SHELL, 0.5),
    "down jacket": UpperKind({"nylon": 3, "polyester": 1}, (0.95, 1.0), (0.05, 0.22), (0.04, 0.062), (0.02, 0.05), {"high": 2, "hood": 2}, {"quilted": 3, "plain": 1}, 0.3),
    "blazer": UpperKind({"wool": 3, "linen": 1}, (0.95, 1.0), (0.14, 0.2), (0.014, 0.02), (0.015, 0.04), {"lapel": 1}, {"plain": 4, "checks": 0.6}, 0.7),
    "coat": UpperKind({"wool": 3, "polyester": 1}, (0.95, 1.0), (0.34, 0.62), (0.02, 0.034), (0.02, 0.06), {"lapel": 2, "high": 1, "hood": 0.6}, {"plain": 6, "checks": 0.7}, 0.4),
    "dress": UpperKind({"cotton": 2, "polyester": 1, "linen": 1}, (0.0, 0.5), (0.34, 0.72), (0.005, 0.008), (0.0, 0.03), {"round": 1, "v": 1}, {"plain": 3, "speckled": 1.5, "horizontal stripes": 0.6, "checks": 0.5, "colour block": 0.8}),
}
LOWERS: dict[str, LowerKind] = {
    "jeans": LowerKind({"denim": 1}, (0.94, 1.0), (0.003, 0.018), _PLAIN),
    "trousers": LowerKind({"cotton": 2, "polyester": 2, "wool": 1}, (0.96, 1.03), (0.01, 0.028), {"plain": 8, "checks": 0.5, "vertical stripes": 0.4}),
    "wide trousers": LowerKind({"linen": 1, "polyester": 1, "cotton": 1}, (0.95, 1.04), (0.034, 0.055), _PLAIN),
    "leggings": LowerKind({"polyester": 1}, (0.8, 0.98), (0.0, 0.004), _PLAIN),
    "shorts": LowerKind({"cotton": 2, "denim": 1, "polyester": 1}, (0.26, 0.52), (0.012, 0.035), {"plain": 6, "checks": 0.6}),
    "skirt": LowerKind({"cotton": 1, "denim": 1, "polyester": 1}, (0.3, 0.52), (0.0, 0.05), {"plain": 5, "checks": 1, "speckled": 0.5}, True),
    "long skirt": LowerKind({"linen": 1, "polyester": 1}, (0.62, 0.92), (0.0, 0.05), {"plain": 4, "vertical stripes": 0.5, "speckled": 0.8}, True),
}
SHOES = {"sneakers": 5.0, "leather shoes": 2.0, "boots": 1.2, "sandals": 0.4}
_SHOE_COLOURS = {
    "sneakers": {"white": 4, "black": 3, "grey": 2, "red": 0.7, "blue": 0.7, "yellow": 0.2},
    "leather shoes": {"black": 4, "brown": 3, "beige": 0.6},
    "boots": {"black": 3, "brown": 3, "khaki": 1},
    "sandals": {"brown": 1, "black": 1, "beige": 1},
}
_BAG_COLOURS = {"black": 5, "navy": 2, "grey": 2, "brown": 2, "red": 1.2, "beige": 1, "teal": 0.7, "yellow": 0.5, "pink": 0.5}
_HEAD_COLOURS = {"black": 4, "navy": 2, "grey": 2, "white": 2, "red": 1, "beige": 1, "burgundy": 0.6}


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
        lowers = {kind: weight for kind, weight in lowers.items() if not LOWERS[kind].skirt and kind != "leggings"}
    upper_kind = palettes.draw(uppers, rng)
    cut = UPPERS[upper_kind]
    lower_kind = "leggings" if upper_kind == "dress" and rng.random() < 0.3 else palettes.draw(lowers, rng)
    if upper_kind == "dress" and lower_kind != "leggings":
        lower_kind = "bare legs"
    lower_cut = LOWERS.get(lower_kind)
    opened = rng.random() < cut.open_share
    print_kind = ("logo" if rng.random() < 0.6 else "block") if rng.random() < cut.prints else ""
    plain = {"plain": 1.0}
    return Outfit(
        upper_kind=upper_kind,
        upper=cloth.draw_cloth(palettes.draw(cut.fabrics, rng), season.upper_colours, cut.patterns, rng),
        sleeve=_between(cut.sleeve, rng),
        hem=_between(cut.hem, rng),
        thickness=_between(cut.thickness, rng),
        ease=_between(cut.ease, rng),
        collar=palettes.draw(cut.collar, rng),
        opening=_between((0.03, 0.1), rng) if opened else 0.0,
        inner=cloth.draw_cloth("cotton", {"white": 4, "grey": 2, "black": 2, "light blue": 1, "red": 0.7}, plain, rng),
        print_kind=print_kind,
        print_cloth=cloth.draw_cloth("cotton", {"white": 3, "black": 2, "red": 1, "yellow": 1, "blue": 1}, plain, rng),
        lower_kind=lower_kind,
        lower=cloth.draw_cloth(
            palettes.draw(lower_cut.fabrics, rng) if lower_cut else "cotton",
            {"denim blue": 3, "navy": 2, "black": 2, "light blue": 1} if lower_kind == "jeans" else season.lower_colours,
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
        "sole": cloth.plain("rubber", sole_colour, palettes.vary(palettes.COLOURS[sole_colour], 6.0, rng), rng),
        "bag_kind": palettes.draw(season.bags, rng),
        "bag": cloth.draw_cloth(bag_fabric, _BAG_COLOURS, {"plain": 4, "colour block": 1}, rng),
        "headwear_kind": headwear_kind,
        "headwear": cloth.draw_cloth("wool" if headwear_kind == "beanie" else "cotton", _HEAD_COLOURS, plain, rng),
        "scarf": cloth.draw_cloth("wool", _HEAD_COLOURS, {"plain": 2, "checks": 1}, rng)
        if rng.random() < season.scarf_share
        else None,
    }


def resembling(outfit: Outfit, season: Season, rng: np.random.Generator) -> Outfit:
    """A look-alike: same garments and colours, other details (shoes, bag, headwear, sleeve, print)."""
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
