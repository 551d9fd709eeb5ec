"""Wardrobes of the domains: weights over garments, colours, bags and headwear.

Only data. A weight is a share before normalisation; a key missing from a domain is never worn
there.
"""

import dataclasses

Weights = dict[str, float]

_DARK = {
    "black": 5,
    "charcoal": 3,
    "navy": 3,
    "grey": 2,
    "brown": 1,
    "olive": 1,
    "burgundy": 1,
    "beige": 1,
    "white": 0.6,
}
_BRIGHT = {
    "white": 5,
    "black": 3,
    "red": 2,
    "yellow": 1.5,
    "light blue": 2,
    "pink": 2,
    "mint": 1,
    "orange": 1,
    "blue": 2,
}
_CASUAL = {
    "grey": 3,
    "white": 3,
    "black": 3,
    "navy": 2,
    "blue": 2,
    "green": 1.5,
    "red": 1.5,
    "yellow": 1,
    "purple": 1,
}
_SMART = {
    "white": 3,
    "black": 4,
    "beige": 2,
    "cream": 2,
    "grey": 2,
    "burgundy": 1,
    "teal": 1,
    "lavender": 1,
    "pink": 1,
}
_AUTUMN = {
    "olive": 2,
    "brown": 2,
    "khaki": 2,
    "black": 3,
    "navy": 2,
    "orange": 1,
    "red": 1,
    "cream": 1,
    "teal": 1,
}
_BLUE_LEGS = {"denim blue": 4, "navy": 3, "black": 3, "light blue": 1, "grey": 1, "khaki": 1}
_DARK_LEGS = {"black": 5, "charcoal": 3, "navy": 2, "denim blue": 2, "brown": 0.6, "grey": 1}
_LIGHT_LEGS = {
    "khaki": 2,
    "beige": 2,
    "white": 1.5,
    "denim blue": 2,
    "black": 2,
    "light blue": 1,
    "grey": 1,
    "red": 0.4,
}


@dataclasses.dataclass(frozen=True)
class Season:
    """Wardrobe of one domain, as weights."""

    upper: Weights
    lower: Weights
    upper_colours: Weights
    lower_colours: Weights
    bags: Weights
    headwear: Weights
    scarf_share: float = 0.0


SEASONS: dict[str, Season] = {
    "RenderedCampus": Season(
        upper={"t-shirt": 4, "hoodie": 3, "shirt": 2, "sweater": 2, "jacket": 2, "dress": 0.8},
        lower={
            "jeans": 5,
            "trousers": 2,
            "shorts": 1.5,
            "leggings": 1,
            "skirt": 1,
            "wide trousers": 0.7,
        },
        upper_colours=_CASUAL,
        lower_colours=_BLUE_LEGS,
        bags={"none": 4, "backpack": 5, "shoulder bag": 2, "handbag": 0.5},
        headwear={"none": 9, "cap": 1.2, "beanie": 0.3},
    ),
    "RenderedMall": Season(
        upper={
            "shirt": 3,
            "sweater": 2,
            "t-shirt": 2,
            "blazer": 2,
            "jacket": 1.5,
            "dress": 2.5,
            "coat": 0.6,
        },
        lower={
            "trousers": 3,
            "jeans": 3,
            "skirt": 2,
            "long skirt": 1,
            "leggings": 1,
            "wide trousers": 1,
        },
        upper_colours=_SMART,
        lower_colours=_LIGHT_LEGS,
        bags={"none": 4, "handbag": 3, "shoulder bag": 3, "shopping bag": 3, "backpack": 1},
        headwear={"none": 12, "hat": 0.6, "cap": 0.5, "headscarf": 0.8},
    ),
    "RenderedStation": Season(
        upper={"coat": 4, "down jacket": 4, "jacket": 3, "blazer": 1, "sweater": 1, "hoodie": 1},
        lower={"trousers": 4, "jeans": 4, "leggings": 1, "wide trousers": 0.8, "long skirt": 0.6},
        upper_colours=_DARK,
        lower_colours=_DARK_LEGS,
        bags={"none": 3, "suitcase": 3, "backpack": 3, "shoulder bag": 2, "handbag": 1},
        headwear={"none": 7, "beanie": 2.5, "hat": 0.5, "cap": 0.5, "headscarf": 0.4},
        scarf_share=0.3,
    ),
    "RenderedStreet": Season(
        upper={"t-shirt": 5, "tank top": 1.5, "shirt": 2, "dress": 2, "polo": 2},
        lower={
            "shorts": 4,
            "jeans": 2.5,
            "skirt": 2,
            "trousers": 1.5,
            "leggings": 0.8,
            "wide trousers": 0.8,
        },
        upper_colours=_BRIGHT,
        lower_colours=_LIGHT_LEGS,
        bags={"none": 5, "backpack": 2, "shoulder bag": 2, "shopping bag": 1.5, "handbag": 1},
        headwear={"none": 7, "cap": 2, "hat": 1.2, "headscarf": 0.3},
    ),
    "RenderedVI": Season(
        upper={
            "jacket": 3,
            "hoodie": 2,
            "sweater": 2,
            "t-shirt": 2,
            "shirt": 2,
            "coat": 1.2,
            "dress": 0.8,
        },
        lower={"jeans": 4, "trousers": 3, "shorts": 0.8, "skirt": 1, "leggings": 1},
        upper_colours=_AUTUMN,
        lower_colours=_BLUE_LEGS,
        bags={"none": 4, "backpack": 3, "shoulder bag": 2, "handbag": 1},
        headwear={"none": 9, "cap": 1, "beanie": 0.6},
        scarf_share=0.08,
    ),
}
