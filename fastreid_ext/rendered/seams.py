"""Lay the seams: rules that say which surface each spot of a zone shows.

A rule covers a range of coordinates along its zone and, inside it, a strip across. The shader tries
the rules of a zone in order, and the last one that holds wins, so details come after what they
cover. Sharp edges (sleeve ends, necklines, straps, soles, eyes) thus do not depend on how fine the
mesh is. Coordinates are those of :mod:`.body_coordinates`, in metres.
"""

import dataclasses

import numpy as np

from fastreid_ext.rendered import body_coordinates as bc
from fastreid_ext.rendered.body_coordinates import Figure
from fastreid_ext.rendered.garments import LOWERS
from fastreid_ext.rendered.identities import Identity
from fastreid_ext.rendered.outfits import Outfit

SURFACES = (
    "skin",
    "hair",
    "upper",
    "inner",
    "print",
    "lower",
    "shoes",
    "sole",
    "bag",
    "headwear",
    "scarf",
    "dark",
    "lips",
)
FRONT = 1.0
BACK = -1.0
ANY_SIDE = 0.0
END = 9.0  # metres; beyond every body, so a range up to it has no end

_NECKLINE_DEPTHS = {"round": 0.055, "v": 0.13, "shirt": 0.05, "lapel": 0.24}
_SHORTEST_SLEEVE = 0.08  # share of the arm; shorter ones leave the shoulder bare
_HEADWEAR_EDGES = {"beanie": 0.36, "headscarf": 0.22, "cap": 0.33, "hat": 0.33}  # of the head
_BOOT_TOP = 0.68  # share of the leg
_WIDE_LEG = 0.02  # metres of ease from which trousers fall over boots


@dataclasses.dataclass(frozen=True)
class Strip:
    """A band across a zone, whose centre may slope and whose width may change.

    Attributes:
        centre: distance from the middle of the zone at its low end, in metres.
        slope: metres by which the centre moves per metre along.
        low_half_width: half of the width at the low end, in metres.
        high_half_width: half of the width at the high end, in metres.
        mirrored: whether the other half of the body has the strip too.
    """

    centre: float = 0.0
    slope: float = 0.0
    low_half_width: float = END
    high_half_width: float = END
    mirrored: bool = True


EVERYWHERE = Strip()


@dataclasses.dataclass(frozen=True)
class SeamRule:
    """A region of a zone, and the surface that shows there.

    Attributes:
        zone: number of a zone of the body, or of a piece sewn onto it.
        surface: name of the surface, one of ``SURFACES``.
        low: lowest coordinate along the zone, in metres.
        high: highest coordinate along the zone, in metres.
        strip: band across the zone to which the rule is limited.
        side: side of the body, ``FRONT``, ``BACK`` or ``ANY_SIDE``.
    """

    zone: int
    surface: str
    low: float = -END
    high: float = END
    strip: Strip = EVERYWHERE
    side: float = ANY_SIDE

    def row(self) -> list[float]:
        """List the rule's ten numbers in the order in which the shader reads them."""
        strip = self.strip
        return [
            self.zone,
            self.low,
            self.high,
            strip.centre,
            strip.slope,
            strip.low_half_width,
            strip.high_half_width,
            float(strip.mirrored),
            self.side,
            SURFACES.index(self.surface),
        ]


def rule_table(rules: list[SeamRule]) -> np.ndarray:
    """Stack the rows of some rules into a (R, 10) float64 array."""
    return np.array([rule.row() for rule in rules])


def seam_table(figure: Figure, identity: Identity, bag_kind: str) -> np.ndarray:
    """Compute the rules of a dressed body.

    Args:
        figure: measured body of the identity.
        identity: clothes, hair and beard to show.
        bag_kind: kind of bag whose straps lie over the upper garment.

    Returns:
        (R, 10) float64 rows sorted by zone, in the order in which the shader tries them.
    """
    outfit = identity.outfit
    rules = [
        *_head_rules(figure, identity),
        *_upper_rules(figure, outfit),
        *_strap_rules(figure, bag_kind),
        SeamRule(bc.ARM, "skin", low=outfit.sleeve * figure.arm_length),
        SeamRule(bc.HAND, "skin"),
        *_leg_rules(figure, outfit),
        *_joining_rules(identity),
    ]
    table = rule_table(rules)
    return table[np.argsort(table[:, 0], kind="stable")]


def piece_table(
    zone: int, surface: str, outfit: Outfit, figure: Figure, reach: float
) -> np.ndarray:
    """Compute the rules of a piece sewn onto the body; an open coat stays open below the waist.

    Args:
        zone: number of the piece's own zone.
        surface: name of the surface that the piece shows.
        outfit: clothes that the piece belongs to.
        figure: measured body under the piece.
        reach: largest coordinate along the piece, in metres below the neck joint.

    Returns:
        (R, 10) float64 rows.
    """
    whole = SeamRule(zone, surface)
    is_open = surface == "upper" and outfit.opening and reach >= figure.torso_length
    if not is_open:
        return rule_table([whole])
    waist = waist_along(figure)
    bottom = figure.torso_length + outfit.hem
    opening = Strip(low_half_width=outfit.opening, high_half_width=outfit.opening * 1.4)
    under = "skin" if outfit.lower_kind == "bare legs" else "lower"
    inner = SeamRule(zone, "inner", high=waist + 0.06, strip=opening, side=FRONT)
    legs = SeamRule(zone, under, waist + 0.06, bottom + 1, opening, FRONT)
    return rule_table([whole, inner, legs])


def waist_along(figure: Figure) -> float:
    """Compute where trousers begin, in metres below the neck joint."""
    return figure.torso_length - 0.06


def _head_rules(figure: Figure, identity: Identity) -> list[SeamRule]:
    tall = figure.head_height
    rules = [SeamRule(bc.HEAD, "skin"), SeamRule(bc.HAIR, _scalp(identity))]
    if identity.beard:
        beard = Strip(low_half_width=0.07, high_half_width=0.05)
        rules.append(SeamRule(bc.HEAD, "hair", 0.74 * tall, 1.1 * tall, beard, FRONT))
    brow = Strip(0.033, low_half_width=0.017, high_half_width=0.015)
    eye = Strip(0.033, low_half_width=0.013, high_half_width=0.013)
    mouth = Strip(low_half_width=0.024, high_half_width=0.022)
    rules.append(SeamRule(bc.HEAD, "dark", 0.41 * tall, 0.435 * tall, brow, FRONT))
    rules.append(SeamRule(bc.HEAD, "dark", 0.465 * tall, 0.505 * tall, eye, FRONT))
    rules.append(SeamRule(bc.HEAD, "lips", 0.755 * tall, 0.795 * tall, mouth, FRONT))
    return rules + _headwear_rules(figure, identity)


def _scalp(identity: Identity) -> str:
    return "skin" if identity.hair_style == "bald" else "hair"


def _headwear_rules(figure: Figure, identity: Identity) -> list[SeamRule]:
    tall = figure.head_height
    kind = identity.outfit.headwear_kind
    if kind not in _HEADWEAR_EDGES:
        return []
    rules = [SeamRule(bc.HAIR, "headwear")]
    if kind != "headscarf":
        edge = 0.5 if kind == "beanie" else 0.36
        rules.append(SeamRule(bc.HAIR, _scalp(identity), low=edge * tall))
    rules.append(SeamRule(bc.HEAD, "headwear", high=_HEADWEAR_EDGES[kind] * tall))
    if kind == "headscarf":
        rules.append(SeamRule(bc.HEAD, "headwear", low=0.9 * tall))
        rules.append(SeamRule(bc.TORSO, "headwear", high=0.03))
    return rules


def _upper_rules(figure: Figure, outfit: Outfit) -> list[SeamRule]:
    sleeve_end = outfit.sleeve * figure.arm_length if outfit.sleeve else 0.0
    neck = Strip(low_half_width=0.085, high_half_width=0.085)
    rules = [
        SeamRule(bc.TORSO, "upper"),
        SeamRule(bc.TORSO, "skin", high=0.004, strip=neck),
        SeamRule(bc.TORSO, "skin", high=-0.03),
        SeamRule(bc.ARM, "upper", high=sleeve_end),
    ]
    if outfit.upper_kind == "tank top" or outfit.sleeve < _SHORTEST_SLEEVE:
        shoulder = Strip(0.2, low_half_width=0.055, high_half_width=0.03)
        rules.append(SeamRule(bc.TORSO, "skin", -0.01, 0.16, shoulder))
    rules += _neckline_rules(outfit)
    rules += _print_rules(outfit)
    if outfit.opening:
        opening = Strip(low_half_width=0.045, high_half_width=outfit.opening)
        high = waist_along(figure) + 0.1
        rules.append(SeamRule(bc.TORSO, "inner", 0.0, high, opening, FRONT))
    # Above the hips, whatever shows through the hem has its colour.
    hips = figure.torso_length + min(outfit.hem - 0.05, 0.1)
    rules.append(SeamRule(bc.TORSO, _hip_surface(outfit), low=hips))
    return rules


def _hip_surface(outfit: Outfit) -> str:
    return "upper" if outfit.lower_kind == "bare legs" else "lower"


def _neckline_rules(outfit: Outfit) -> list[SeamRule]:
    depth = _NECKLINE_DEPTHS.get(outfit.collar)
    if depth is None:
        return []
    is_worn_open = outfit.collar in ("lapel", "shirt")
    has_layer_below = is_worn_open and outfit.upper_kind not in ("polo", "dress")
    under = "inner" if has_layer_below else "skin"
    strip = Strip(low_half_width=0.075, high_half_width=0.01)
    return [SeamRule(bc.TORSO, under, -0.01, depth, strip, FRONT)]


def _print_rules(outfit: Outfit) -> list[SeamRule]:
    if outfit.print_kind == "logo":
        logo = Strip(low_half_width=0.07, high_half_width=0.07)
        return [SeamRule(bc.TORSO, "print", 0.15, 0.23, logo, FRONT)]
    if outfit.print_kind == "block":
        block = Strip(low_half_width=0.12, high_half_width=0.11)
        return [SeamRule(bc.TORSO, "print", 0.14, 0.3, block, FRONT)]
    return []


def _strap_rules(figure: Figure, bag_kind: str) -> list[SeamRule]:
    if bag_kind == "backpack":
        straps = Strip(0.105, 0.05, 0.022, 0.022)
        return [SeamRule(bc.TORSO, "bag", 0.0, 0.3, straps, FRONT)]
    if bag_kind == "shoulder bag":
        reach = figure.torso_length - 0.02
        strap = Strip(-0.1, 0.27 / reach, 0.014, 0.014, mirrored=False)
        return [SeamRule(bc.TORSO, "bag", 0.0, reach, strap, side) for side in (FRONT, BACK)]
    return []


def _leg_rules(figure: Figure, outfit: Outfit) -> list[SeamRule]:
    length = figure.leg_length
    rules = [
        SeamRule(bc.LEG, "skin"),
        SeamRule(bc.FOOT, "shoes"),
        SeamRule(bc.FOOT, "sole", high=0.024),
    ]
    trousers = SeamRule(bc.LEG, "lower", high=outfit.leg * length)
    wears_trousers = outfit.lower_kind in LOWERS and not LOWERS[outfit.lower_kind].skirt
    if wears_trousers:
        rules.append(trousers)
    if outfit.shoe_kind == "boots":
        rules.append(SeamRule(bc.LEG, "shoes", low=_BOOT_TOP * length))
        if outfit.leg > 0.9 and outfit.leg_ease > _WIDE_LEG:
            rules.append(trousers)
    if outfit.shoe_kind == "sandals":
        rules.append(SeamRule(bc.FOOT, "skin", low=0.035))
        rules.append(SeamRule(bc.FOOT, "shoes", 0.05, 0.065))
    return rules


def _joining_rules(identity: Identity) -> list[SeamRule]:
    """List the surfaces of faces between two zones, in the order of ``body_coordinates.SEAMS``."""
    outfit = identity.outfit
    headwear = outfit.headwear_kind
    surfaces = (
        "upper" if outfit.sleeve > _SHORTEST_SLEEVE else "skin",
        "upper" if outfit.sleeve > 0.97 else "skin",
        _hip_surface(outfit),
        "skin" if outfit.shoe_kind == "sandals" else "shoes",
        _scalp(identity) if headwear == "none" else "headwear",
        "headwear" if headwear == "headscarf" else "skin",
    )
    first = bc.FOOT + 1
    return [SeamRule(first + number, surface) for number, surface in enumerate(surfaces)]
