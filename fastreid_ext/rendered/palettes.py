"""Named clothing, skin and hair colours, and the linear reflectance of sRGB bytes.

A colour name is a word for captions; the reflectance of one garment is that name's centre with a
small random shift, so two "navy" jackets are rarely the same navy.
"""

import numpy as np

# sRGB bytes of a cloth in neutral light.
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (32, 32, 36),
    "charcoal": (62, 63, 68),
    "grey": (128, 129, 132),
    "light grey": (184, 185, 186),
    "white": (228, 227, 223),
    "cream": (222, 210, 184),
    "beige": (190, 170, 138),
    "khaki": (140, 126, 92),
    "olive": (88, 90, 58),
    "brown": (96, 68, 48),
    "navy": (38, 44, 76),
    "blue": (52, 84, 150),
    "denim blue": (78, 98, 132),
    "light blue": (142, 174, 208),
    "teal": (40, 112, 116),
    "green": (54, 112, 68),
    "mint": (158, 204, 178),
    "yellow": (220, 184, 62),
    "orange": (212, 112, 44),
    "red": (176, 42, 44),
    "burgundy": (104, 34, 48),
    "pink": (220, 150, 164),
    "purple": (98, 66, 128),
    "lavender": (170, 154, 198),
}

# sRGB bytes from light to dark; the tone index doubles as the attribute in the annotations.
SKIN_TONES = (
    (236, 198, 172),
    (222, 176, 144),
    (198, 146, 112),
    (166, 114, 82),
    (122, 80, 58),
    (84, 56, 44),
)
HAIR_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (28, 25, 25),
    "dark brown": (52, 38, 30),
    "brown": (88, 62, 42),
    "blond": (176, 142, 92),
    "red": (130, 66, 38),
    "grey": (142, 140, 138),
    "white": (206, 204, 200),
}

Colour = tuple[float, float, float]


def to_linear(srgb: np.ndarray | tuple[int, int, int]) -> np.ndarray:
    """Convert sRGB bytes in [0, 255], of any shape, to linear values in [0, 1]."""
    value = np.asarray(srgb, dtype=np.float64) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def vary(srgb: tuple[int, int, int], spread: float, rng: np.random.Generator) -> Colour:
    """Sample a linear reflectance near ``srgb``: brightness shifts by about ``spread`` bytes."""
    shifted = np.asarray(srgb) + rng.normal(0.0, spread) + rng.normal(0.0, spread / 3, 3)
    red, green, blue = to_linear(np.clip(shifted, 14, 238)).round(5).tolist()
    return red, green, blue


def sample_key(weights: dict[str, float], rng: np.random.Generator) -> str:
    """Sample one key of ``weights`` (positive, any sum) in proportion to them."""
    names = list(weights)
    shares = np.cumsum([weights[name] for name in names])
    return names[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))]
