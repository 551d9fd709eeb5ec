"""Kinds of garments and how each is cut: the choices an outfit is sampled from.

``sleeve`` and ``leg`` are shares of the limb (0 shoulder or hip, 0.5 elbow or knee, 1 wrist or
ankle); other lengths are metres, ``hem`` below the pelvis joint. Weights are shares of any sum.
"""

import dataclasses

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class UpperKind:
    """Cut of one kind of upper garment."""

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
    """Cut of one kind of lower garment."""

    fabrics: dict[str, float]
    leg: Range
    ease: Range
    patterns: dict[str, float]
    skirt: bool = False


_PLAIN = {"plain": 1.0}
_TEE = {
    "plain": 5,
    "horizontal stripes": 1.6,
    "colour block": 1.2,
    "vertical stripes": 0.3,
    "speckled": 0.6,
}
_SHIRT = {"plain": 4, "checks": 2.5, "vertical stripes": 1.5, "speckled": 0.6}
_KNIT = {"plain": 5, "horizontal stripes": 1.5, "colour block": 1, "speckled": 1}
_SHELL = {"plain": 5, "colour block": 2}

UPPERS: dict[str, UpperKind] = {
    "t-shirt": UpperKind(
        {"cotton": 3, "polyester": 1},
        (0.26, 0.46),
        (0.05, 0.16),
        (0.005, 0.009),
        (0.01, 0.05),
        {"round": 3, "v": 1},
        _TEE,
        0,
        0.4,
    ),
    "polo": UpperKind(
        {"cotton": 1}, (0.28, 0.42), (0.06, 0.13), (0.006, 0.01), (0.01, 0.035), {"shirt": 1}, _TEE
    ),
    "tank top": UpperKind(
        {"cotton": 2, "polyester": 1},
        (0.0, 0.06),
        (0.03, 0.12),
        (0.004, 0.007),
        (0.0, 0.03),
        {"v": 1, "round": 1},
        _TEE,
        0,
        0.2,
    ),
    "shirt": UpperKind(
        {"cotton": 3, "linen": 1},
        (0.5, 1.0),
        (0.08, 0.18),
        (0.006, 0.01),
        (0.015, 0.05),
        {"shirt": 1},
        _SHIRT,
        0.2,
    ),
    "sweater": UpperKind(
        {"wool": 3, "cotton": 1},
        (0.9, 1.0),
        (0.04, 0.14),
        (0.012, 0.02),
        (0.02, 0.05),
        {"round": 3, "v": 1, "high": 1},
        _KNIT,
    ),
    "hoodie": UpperKind(
        {"cotton": 3, "polyester": 1},
        (0.92, 1.0),
        (0.05, 0.14),
        (0.016, 0.026),
        (0.02, 0.06),
        {"hood": 1},
        _SHELL,
        0.35,
        0.4,
    ),
    "jacket": UpperKind(
        {"denim": 1, "leather": 1, "polyester": 2, "nylon": 1},
        (0.92, 1.0),
        (0.03, 0.16),
        (0.018, 0.03),
        (0.02, 0.06),
        {"high": 2, "hood": 1, "shirt": 1},
        _SHELL,
        0.5,
    ),
    "down jacket": UpperKind(
        {"nylon": 3, "polyester": 1},
        (0.95, 1.0),
        (0.05, 0.22),
        (0.04, 0.062),
        (0.02, 0.05),
        {"high": 2, "hood": 2},
        {"quilted": 3, "plain": 1},
        0.3,
    ),
    "blazer": UpperKind(
        {"wool": 3, "linen": 1},
        (0.95, 1.0),
        (0.14, 0.2),
        (0.014, 0.02),
        (0.015, 0.04),
        {"lapel": 1},
        {"plain": 4, "checks": 0.6},
        0.7,
    ),
    "coat": UpperKind(
        {"wool": 3, "polyester": 1},
        (0.95, 1.0),
        (0.34, 0.62),
        (0.02, 0.034),
        (0.02, 0.06),
        {"lapel": 2, "high": 1, "hood": 0.6},
        {"plain": 6, "checks": 0.7},
        0.4,
    ),
    "dress": UpperKind(
        {"cotton": 2, "polyester": 1, "linen": 1},
        (0.0, 0.5),
        (0.34, 0.72),
        (0.005, 0.008),
        (0.0, 0.03),
        {"round": 1, "v": 1},
        {
            "plain": 3,
            "speckled": 1.5,
            "horizontal stripes": 0.6,
            "checks": 0.5,
            "colour block": 0.8,
        },
    ),
}
LOWERS: dict[str, LowerKind] = {
    "jeans": LowerKind({"denim": 1}, (0.94, 1.0), (0.003, 0.018), _PLAIN),
    "trousers": LowerKind(
        {"cotton": 2, "polyester": 2, "wool": 1},
        (0.96, 1.03),
        (0.01, 0.028),
        {"plain": 8, "checks": 0.5, "vertical stripes": 0.4},
    ),
    "wide trousers": LowerKind(
        {"linen": 1, "polyester": 1, "cotton": 1}, (0.95, 1.04), (0.034, 0.055), _PLAIN
    ),
    "leggings": LowerKind({"polyester": 1}, (0.8, 0.98), (0.0, 0.004), _PLAIN),
    "shorts": LowerKind(
        {"cotton": 2, "denim": 1, "polyester": 1},
        (0.26, 0.52),
        (0.012, 0.035),
        {"plain": 6, "checks": 0.6},
    ),
    "skirt": LowerKind(
        {"cotton": 1, "denim": 1, "polyester": 1},
        (0.3, 0.52),
        (0.0, 0.05),
        {"plain": 5, "checks": 1, "speckled": 0.5},
        True,
    ),
    "long skirt": LowerKind(
        {"linen": 1, "polyester": 1},
        (0.62, 0.92),
        (0.0, 0.05),
        {"plain": 4, "vertical stripes": 0.5, "speckled": 0.8},
        True,
    ),
}
