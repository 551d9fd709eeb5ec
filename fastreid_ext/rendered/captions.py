"""Plain English captions of an image, from its ground truth."""

from fastreid_ext.rendered.cloth import Cloth
from fastreid_ext.rendered.identities import Identity

_VIEWS = ((45.0, "front view"), (135.0, "side view"), (181.0, "back view"))
_ACTIONS = {
    "walking": "walking",
    "standing": "standing",
    "carrying": "carrying something",
    "phone": "using a phone",
    "unusual": "moving in an unusual way",
}


_HAIR = {
    "bald": "no hair",
    "cropped": "cropped {} hair",
    "short": "short {} hair",
    "bob": "{} hair in a bob",
    "bun": "{} hair in a bun",
    "ponytail": "{} hair in a ponytail",
    "long": "long {} hair",
}


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _phrase(surface: Cloth, noun: str) -> str:
    if not surface.second_colour:
        return f"{surface.colour} {noun}"
    words = {
        "horizontal stripes": "striped",
        "vertical stripes": "pin-striped",
        "checks": "checked",
    }
    pattern = words.get(surface.pattern, surface.pattern)
    return f"{pattern} {surface.colour} and {surface.second_colour} {noun}"


def view_name(azimuth_deg: float) -> str:
    """Name the view of an angle between the body's front and the camera, in [-180, 180] degrees."""
    return next(name for limit, name in _VIEWS if abs(azimuth_deg) <= limit)


def caption(identity: Identity, bag_kind: str, pose_name: str, azimuth_deg: float) -> str:
    """Write one sentence, for example ``a woman with long black hair in a red coat ...``."""
    outfit = identity.outfit
    who = "woman" if identity.feminine else "man"
    hair = _HAIR[identity.hair_style].format(identity.hair.colour)
    worn = [_with_article(_phrase(outfit.upper, outfit.upper_kind))]
    if outfit.lower_kind != "bare legs":
        worn.append(_phrase(outfit.lower, outfit.lower_kind))
    worn.append(
        _phrase(outfit.shoes, outfit.shoe_kind if outfit.shoe_kind != "leather shoes" else "shoes")
    )
    if outfit.headwear_kind != "none":
        worn.append(_with_article(_phrase(outfit.headwear, outfit.headwear_kind)))
    if outfit.scarf is not None:
        worn.append(_with_article(f"{outfit.scarf.colour} scarf"))
    text = f"a {who} with {hair} wearing {', '.join(worn[:-1])} and {worn[-1]}"
    if bag_kind != "none":
        text += f", with {_with_article(_phrase(outfit.bag, bag_kind))}"
    return f"{text}, {_ACTIONS.get(pose_name, pose_name)}, {view_name(azimuth_deg)}"
