"""Keys of several views of one image."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

# Recipes and their numbers of views.
_COUNTS = {"independent": 2, "corrupted": 3, "cil": 3, "dapg": 4}
RECIPES = tuple(_COUNTS)
ERASINGS = ("each", "shared", "all")
# Recipes that corrupt some of the views.
CORRUPTING = ("corrupted", "dapg")


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
    # Views that the model's own losses see: "clean", the first view, or "all".
    views.SUPERVISED = "clean"
    # Of "cil": "each" further view draws its own erasing and mixing, "shared" = drawn once for all
    # further views, "all" = and for the clean view too, which is what CIL's released code does.
    views.ERASED = "each"


def view_count(cfg: CfgNode) -> int:
    """Return the number of views of each image; 1 without a recipe."""
    views = cfg.INPUT.VIEWS
    return (views.COUNT or _COUNTS[views.RECIPE]) if views.RECIPE else 1
