"""Seams: which surface each spot of a zone shows, as a short list of rules the shader tries.

A rule covers a band of ``along`` and, inside it, a strip of ``across``; the last rule that holds
wins. Sharp edges (sleeve ends, necklines, straps, soles, eyes) thus do not depend on how fine the
mesh is.
"""

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
_ALL = 9.0
FRONT, BACK, ANY = 1.0, -1.0, 0.0


def rule(
    zone: int,
    surface: str,
    along: tuple[float, float] = (-_ALL, _ALL),
    strip: tuple[float, float, float, float] = (0.0, 0.0, _ALL, _ALL),
    side: float = ANY,
    mirrored: bool = True,
) -> list[float]:
    """One row; ``strip`` is centre, slope, half width at the low end and at the high end."""
    return [zone, *along, *strip, float(mirrored), side, SURFACES.index(surface)]


def waist_along(figure: Figure) -> float:
    """Where trousers begin, in metres below the neck joint."""
    return figure.torso_length - 0.06


def _upper_rules(figure: Figure, outfit: Outfit) -> list[list[float]]:
    waist = waist_along(figure)
    hips = figure.torso_length + min(
        outfit.hem - 0.05, 0.1
    )  # above, whatever shows through the hem has its colour
    arm, neckline = (
        figure.arm_length,
        {"round": 0.055, "v": 0.13, "shirt": 0.05, "lapel": 0.24}.get(outfit.collar, 0.0),
    )
    under = (
        "inner"
        if outfit.collar in ("lapel", "shirt") and outfit.upper_kind not in ("polo", "dress")
        else "skin"
    )
    rules = [
        rule(bc.TORSO, "upper"),
        rule(bc.TORSO, "skin", (-_ALL, 0.004), (0.0, 0.0, 0.085, 0.085)),
        rule(bc.TORSO, "skin", (-_ALL, -0.03)),
        rule(bc.ARM, "upper", (-_ALL, outfit.sleeve * arm) if outfit.sleeve else (-_ALL, 0.0)),
    ]
    if outfit.upper_kind == "tank top" or outfit.sleeve < 0.08:
        rules.append(rule(bc.TORSO, "skin", (-0.01, 0.16), (0.2, 0.0, 0.055, 0.03)))
    if neckline:
        rules.append(rule(bc.TORSO, under, (-0.01, neckline), (0.0, 0.0, 0.075, 0.01), FRONT))
    if outfit.print_kind == "logo":
        rules.append(rule(bc.TORSO, "print", (0.15, 0.23), (0.0, 0.0, 0.07, 0.07), FRONT))
    elif outfit.print_kind == "block":
        rules.append(rule(bc.TORSO, "print", (0.14, 0.3), (0.0, 0.0, 0.12, 0.11), FRONT))
    if outfit.opening:
        rules.append(
            rule(bc.TORSO, "inner", (0.0, waist + 0.1), (0.0, 0.0, 0.045, outfit.opening), FRONT)
        )
    rules.append(
        rule(bc.TORSO, "lower" if outfit.lower_kind != "bare legs" else "upper", (hips, _ALL))
    )
    return rules


def _leg_rules(figure: Figure, outfit: Outfit) -> list[list[float]]:
    length = figure.leg_length
    covered = outfit.lower_kind in LOWERS and not LOWERS[outfit.lower_kind].skirt
    rules = [rule(bc.LEG, "skin"), rule(bc.FOOT, "shoes"), rule(bc.FOOT, "sole", (-_ALL, 0.024))]
    if covered:
        rules.append(rule(bc.LEG, "lower", (-_ALL, outfit.leg * length)))
    if outfit.shoe_kind == "boots":
        rules.append(rule(bc.LEG, "shoes", (0.68 * length, _ALL)))
        if outfit.leg > 0.9 and outfit.leg_ease > 0.02:
            rules.append(rule(bc.LEG, "lower", (-_ALL, outfit.leg * length)))
    if outfit.shoe_kind == "sandals":
        rules += [rule(bc.FOOT, "skin", (0.035, _ALL)), rule(bc.FOOT, "shoes", (0.05, 0.065))]
    return rules


def _head_rules(figure: Figure, identity: Identity) -> list[list[float]]:
    tall = figure.head_height
    scalp = "skin" if identity.hair_style == "bald" else "hair"
    rules = [rule(bc.HEAD, "skin"), rule(bc.HAIR, scalp)]
    if identity.beard:
        rules.append(
            rule(bc.HEAD, "hair", (0.74 * tall, 1.1 * tall), (0.0, 0.0, 0.07, 0.05), FRONT)
        )
    rules += [
        rule(
            bc.HEAD, "dark", (0.41 * tall, 0.435 * tall), (0.033, 0.0, 0.017, 0.015), FRONT
        ),  # brows
        rule(
            bc.HEAD, "dark", (0.465 * tall, 0.505 * tall), (0.033, 0.0, 0.013, 0.013), FRONT
        ),  # eyes
        rule(bc.HEAD, "lips", (0.755 * tall, 0.795 * tall), (0.0, 0.0, 0.024, 0.022), FRONT),
    ]
    kind = identity.outfit.headwear_kind
    if kind in ("cap", "hat", "beanie", "headscarf"):
        rules.append(rule(bc.HAIR, "headwear"))
        if kind != "headscarf":
            rules.append(rule(bc.HAIR, scalp, ((0.5 if kind == "beanie" else 0.36) * tall, _ALL)))
        edge = {"beanie": 0.36, "headscarf": 0.22}.get(kind, 0.33)
        rules.append(rule(bc.HEAD, "headwear", (-_ALL, edge * tall)))
        if kind == "headscarf":
            rules += [
                rule(bc.HEAD, "headwear", (0.9 * tall, _ALL)),
                rule(bc.TORSO, "headwear", (-_ALL, 0.03)),
            ]
    return rules


def _strap_rules(figure: Figure, kind: str) -> list[list[float]]:
    if kind == "backpack":
        return [rule(bc.TORSO, "bag", (0.0, 0.3), (0.105, 0.05, 0.022, 0.022), FRONT)]
    if kind == "shoulder bag":
        reach = figure.torso_length - 0.02
        slope = 0.27 / reach
        return [
            rule(bc.TORSO, "bag", (0.0, reach), (-0.1, slope, 0.014, 0.014), side, False)
            for side in (FRONT, BACK)
        ]
    return []


def _joining_rules(identity: Identity) -> list[list[float]]:
    """Surfaces of the faces between two zones, in the order of ``body_coordinates.SEAMS``."""
    outfit = identity.outfit
    hair = "skin" if identity.hair_style == "bald" else "hair"
    hips = "upper" if outfit.lower_kind == "bare legs" else "lower"
    surfaces = (
        "upper" if outfit.sleeve > 0.08 else "skin",
        "upper" if outfit.sleeve > 0.97 else "skin",
        hips,
        "skin" if outfit.shoe_kind == "sandals" else "shoes",
        hair if outfit.headwear_kind == "none" else "headwear",
        "headwear" if outfit.headwear_kind == "headscarf" else "skin",
    )
    return [rule(bc.FOOT + 1 + number, surface) for number, surface in enumerate(surfaces)]


def seam_rules(figure: Figure, identity: Identity, bag_kind: str) -> np.ndarray:
    """Rules (R, 10) sorted by zone, in the order the shader tries them."""
    outfit = identity.outfit
    rules = [
        *_head_rules(figure, identity),
        *_upper_rules(figure, outfit),
        *_strap_rules(figure, bag_kind),
        rule(bc.ARM, "skin", (outfit.sleeve * figure.arm_length, _ALL)),
        rule(bc.HAND, "skin"),
        *_leg_rules(figure, outfit),
        *_joining_rules(identity),
    ]
    table = np.array(rules)
    return table[np.argsort(table[:, 0], kind="stable")]
