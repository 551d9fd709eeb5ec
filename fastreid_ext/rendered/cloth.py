"""Cloth: the surface of one garment, and the table of numbers the shader reads.

Infrared reflectance (NIR, about 850 nm) belongs to the fabric, not to the dye: it is sampled from
the fabric's range independently of the visible colour, which makes visible-infrared matching hard.
"""

import dataclasses

import numpy as np

from fastreid_ext.rendered import palettes

# Fabric -> (lowest NIR reflectance, highest, gloss in [0, 1], contrast of the weave in [0, 1]).
FABRICS: dict[str, tuple[float, float, float, float]] = {
    "cotton": (0.42, 0.78, 0.02, 0.05),
    "denim": (0.34, 0.60, 0.02, 0.12),
    "polyester": (0.24, 0.66, 0.14, 0.03),
    "nylon": (0.14, 0.50, 0.25, 0.03),
    "wool": (0.34, 0.62, 0.00, 0.10),
    "linen": (0.50, 0.80, 0.02, 0.07),
    "leather": (0.06, 0.30, 0.30, 0.05),
    "rubber": (0.05, 0.20, 0.05, 0.02),
    "skin": (0.46, 0.60, 0.05, 0.02),
    "hair": (0.10, 0.34, 0.12, 0.14),
}
PATTERNS = (
    "plain",
    "horizontal stripes",
    "vertical stripes",
    "checks",
    "colour block",
    "speckled",
    "quilted",
)

TABLE_COLUMNS = 14  # rgb, second rgb, nir, second nir, pattern, period, phase, gloss, weave, duty


@dataclasses.dataclass(frozen=True)
class Cloth:
    """One surface. Reflectances are linear in [0, 1]; ``period`` and ``phase`` are metres."""

    fabric: str
    colour: str
    rgb: palettes.Colour
    nir: float
    pattern: str = "plain"
    second_colour: str = ""
    second_rgb: palettes.Colour = (0.0, 0.0, 0.0)
    second_nir: float = 0.0
    period: float = 0.08
    phase: float = 0.0
    duty: float = 0.5  # share of a period that shows the second colour

    def row(self) -> list[float]:
        """List the ``TABLE_COLUMNS`` numbers of this cloth in the shader's table."""
        _, _, gloss, weave = FABRICS[self.fabric]
        surface = [self.nir, self.second_nir, PATTERNS.index(self.pattern), self.period, self.phase]
        return [*self.rgb, *self.second_rgb, *surface, gloss, weave, self.duty]


def sample_nir(fabric: str, rng: np.random.Generator) -> float:
    """Sample the NIR reflectance of one garment of a fabric, whatever its colour."""
    low, high, _, _ = FABRICS[fabric]
    return round(float(rng.uniform(low, high)), 4)


def sample_cloth(
    fabric: str,
    colours: dict[str, float],
    patterns: dict[str, float],
    rng: np.random.Generator,
) -> Cloth:
    """Sample a cloth's colour and pattern by weight; its second colour has another name."""
    colour = palettes.sample_key(colours, rng)
    pattern = palettes.sample_key(patterns, rng)
    others = {name: weight for name, weight in colours.items() if name != colour}
    second = palettes.sample_key({**others, "white" if colour != "white" else "navy": 0.4}, rng)
    nir = sample_nir(fabric, rng)
    return Cloth(
        fabric=fabric,
        colour=colour,
        rgb=palettes.vary(palettes.COLOURS[colour], 9.0, rng),
        nir=nir,
        pattern=pattern,
        second_colour="" if pattern in ("plain", "quilted") else second,
        second_rgb=palettes.vary(palettes.COLOURS[second], 9.0, rng),
        second_nir=round(float(np.clip(nir * rng.uniform(0.8, 1.2), 0.04, 0.9)), 4),
        period=round(float(rng.uniform(0.05, 0.15)), 4),
        phase=round(float(rng.uniform(0.0, 0.15)), 4),
        duty=round(float(rng.uniform(0.25, 0.55)), 4),
    )


def plain(fabric: str, colour: str, rgb: palettes.Colour, rng: np.random.Generator) -> Cloth:
    """Make a cloth of one given reflectance, for skin, hair, soles and eyes."""
    return Cloth(fabric=fabric, colour=colour, rgb=rgb, nir=sample_nir(fabric, rng))
