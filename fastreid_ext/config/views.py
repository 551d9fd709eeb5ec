"""Keys of several views of one image, and what can be wrong with them."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

# Recipes and their numbers of views.
_COUNTS = {"independent": 2, "corrupted": 3, "cil": 3, "dapg": 4}
RECIPES = tuple(_COUNTS)
ERASINGS = ("each", "shared", "all")
# Views that a recipe corrupts, and the steps that it applies by itself.
CORRUPTING = ("corrupted", "dapg")
_OWN_STEPS = {
    "corrupted": ("CORRUPTION",),
    "dapg": ("CORRUPTION",),
    "cil": ("SOFT_ERASING", "PATCH_MIXING", "AUGMIX"),
}


def add_views_keys(cfg: CfgNode) -> None:
    """Add the keys of several views of one image."""
    views = cfg.INPUT.VIEWS = CN()
    # "" = one view of each image. "independent": COUNT passes through everything (SimCLR).
    # "corrupted": a clean view and COUNT - 1 that INPUT.CORRUPTION describes. "cil": a clean view
    # and COUNT - 1 times soft erasing, patch mixing, AugMix, each by the keys of its step. "dapg":
    # q, k1, k2 with one, two, three corruptions, and a mixture k3. What a recipe applies is not
    # ENABLED as a step.
    views.RECIPE = ""
    # Views of one image; 0 = as in the recipe's paper: "independent" 2, "corrupted" and "cil" 3,
    # "dapg" 4 and no other number.
    views.COUNT = 0
    # Whether views share resizing, crop, flip and jitter. None: as in the papers, True for
    # "corrupted" and "cil", False for "dapg".
    views.SAME_CROP = None
    # Of "cil": "each" further view draws its own erasing and mixing, "shared" = drawn once for all
    # further views, "all" = and for the clean view too, which is what CIL's released code does.
    views.ERASED = "each"


def view_count(cfg: CfgNode) -> int:
    """Return the number of views of each image; 1 without a recipe."""
    views = cfg.INPUT.VIEWS
    return (views.COUNT or _COUNTS[views.RECIPE]) if views.RECIPE else 1


def views_problems(cfg: CfgNode) -> list[str]:
    """Return contradictions of ``INPUT.VIEWS`` with other keys, each with what to do."""
    views, inputs, recipe = cfg.INPUT.VIEWS, cfg.INPUT, cfg.INPUT.VIEWS.RECIPE
    if recipe not in RECIPES:
        return []
    problems = [
        f"INPUT.VIEWS.RECIPE {recipe} applies INPUT.{step} by itself, to some of the views; set "
        f"INPUT.{step}.ENABLED False, its other keys are read all the same"
        for step in _OWN_STEPS.get(recipe, ())
        if inputs[step].ENABLED
    ]
    if view_count(cfg) < 2 or (recipe == "dapg" and view_count(cfg) != _COUNTS[recipe]):
        expected = "4 (q, k1, k2, k3)" if recipe == "dapg" else "of at least 2"
        problems.append(
            f"expected INPUT.VIEWS.COUNT {expected} for the recipe {recipe}, got {views.COUNT}; "
            "0 takes the number of its paper"
        )
    if recipe == "cil" and inputs.AUGMIX.METHOD == "fastreid":
        problems.append(
            "INPUT.VIEWS.RECIPE cil needs AugMix of the paper, but INPUT.AUGMIX.METHOD is "
            "fastreid; set it to fast, or to exact for Pillow's operations"
        )
    problems += _corrupting_views(cfg)
    if recipe == "independent" and views.SAME_CROP:
        problems.append(
            "INPUT.VIEWS.SAME_CROP makes the views of INPUT.VIEWS.RECIPE independent equal; set it "
            "to False, or take the recipe corrupted or cil"
        )
    return problems


def _corrupting_views(cfg: CfgNode) -> list[str]:
    where, recipe = cfg.INPUT.CORRUPTION.WHERE, cfg.INPUT.VIEWS.RECIPE
    allowed = {"corrupted": ("resized", "device"), "dapg": ("resized",)}.get(recipe)
    problems = []
    if allowed and where not in allowed:
        problems.append(
            f"INPUT.VIEWS.RECIPE {recipe} corrupts crops at the size of the network, but "
            f"INPUT.CORRUPTION.WHERE is {where}; set it to {' or '.join(allowed)}"
        )
    if recipe == "cil" and cfg.INPUT.CORRUPTION.ENABLED:
        problems.append(
            "INPUT.CORRUPTION.ENABLED is True but INPUT.VIEWS.RECIPE cil trains without "
            "corruptions; set it to False, or take the recipe corrupted"
        )
    if recipe == "cil" and where == "device":
        problems.append(
            "INPUT.CORRUPTION.WHERE is device but INPUT.VIEWS.RECIPE cil trains without "
            "corruptions; set WHERE to resized, or take the recipe corrupted"
        )
    kinds = len(cfg.INPUT.CORRUPTION.NAMES or range(15))
    if recipe == "dapg" and kinds < 3:
        problems.append(
            f"INPUT.VIEWS.RECIPE dapg draws three kinds of corruptions, but INPUT.CORRUPTION.NAMES "
            f"has {kinds}; name at least three, or [] for the 15 common ones"
        )
    return problems
