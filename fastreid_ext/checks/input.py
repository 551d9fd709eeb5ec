"""Keys of ``INPUT``: allowed values, when they are read, and contradictions."""

import re
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import (
    Condition,
    has_any_of,
    is_above,
    is_any_of,
    is_filled,
    is_none_of,
    is_on,
)
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import (
    ANYTHING,
    AT_LEAST_0,
    COUNT,
    POSITIVE,
    PROBABILITY,
    Names,
    Numbers,
    Range,
    Read,
)
from fastreid_ext.corruptions.cpu import COMMON_CORRUPTIONS, CORRUPTION_NAMES
from fastreid_ext.corruptions.cpu.corrupt import MINIMUM_SIDE
from fastreid_ext.data.transforms.from_config import (
    ANCHORS,
    AUGMIX_METHODS,
    CHANNEL_MODES,
    CORRUPTING,
    CROPS,
    PLACES,
    RECIPES,
    view_count,
)
from fastreid_ext.data.transforms.multi_view import ERASINGS

_TIMM_TEXT = r"rand(-(m|n|p|mstd|mmax|inc)\d+(\.\d+)?)+"
_PADDINGS = ("constant", "edge", "reflect", "symmetric")
# Steps that a recipe of views applies by itself.
_OWN_STEPS = {
    "corrupted": ("CORRUPTION",),
    "dapg": ("CORRUPTION",),
    "cil": ("SOFT_ERASING", "PATCH_MIXING", "AUGMIX"),
    "caj": ("CHANNEL",),
    "pose": ("CHANNEL",),
}
# Recipes with one number of views only.
_FIXED_COUNTS = {
    "dapg": "4 (q, k1, k2, k3)",
    "caj": "2 (image, image with one channel)",
    "strong_weak": "3 (two augmented views, resized image)",
    "pose": "2 (image, pose-changed image)",
}


def _recipe(*names: str) -> Condition:
    return is_any_of("INPUT.VIEWS.RECIPE", *names)


def _colour_problem(key: str, value: Any) -> str:
    """Describe the mistake in a mean, deviation or colour in grey levels of 0 to 255."""
    if isinstance(value, str):  # torchvision's "random"
        return "" if value == "random" else f"expected {key} three numbers or random, got '{value}'"
    numbers = [value] if isinstance(value, int | float) else list(value)
    if len(numbers) not in (1, 3) or not all(isinstance(n, int | float) for n in numbers):
        return f"expected {key} with three numbers, one for each channel, got {numbers}"
    if not all(0 <= n <= 255 for n in numbers):
        return f"expected {key} in grey levels of 0 to 255, got {numbers}"
    if len(numbers) == 3 and any(n % 1 for n in numbers) and max(numbers) <= 1:
        scaled = [round(255 * n, 3) for n in numbers]
        return (
            f"{key} is {numbers}, in units of 0 to 1, but images are in grey levels of 0 to 255; "
            f"multiply by 255: {scaled}"
        )
    return ""


COLOUR = Read(_colour_problem)


def _severities_problem(key: str, value: Any) -> str:
    severities = list(value)
    if severities and set(map(str, severities)) <= set("12345"):
        return ""
    return f"expected {key} to list some of 1, 2, 3, 4, 5, got {severities}"


def _timm_problem(key: str, value: str) -> str:
    if not value or re.fullmatch(_TIMM_TEXT, value):
        return ""
    return (
        f"expected {key} empty or as timm writes it, rand and parts of m (magnitude), n "
        f"(operations), p, mstd, mmax, inc with numbers, got '{value}'; e.g. rand-m9-mstd0.5-inc1"
    )


def _area_problem(key: str, value: Any) -> str:
    area = list(value)
    if len(area) == 2 and 0 < area[0] <= area[1] < 1:
        return ""
    return f"expected {key} [least, largest] inside (0, 1), got {area}"


def _sigma_problem(key: str, value: Any) -> str:
    sigma = list(value)
    if len(sigma) == 2 and 0 < sigma[0] <= sigma[1]:
        return ""
    return f"expected {key} [least, largest] deviation in pixels, above 0, got {sigma}"


def _beta_problem(key: str, value: Any) -> str:
    beta = list(value)
    is_pixels_alone = key.startswith("INPUT.SOFT_ERASING") and beta == [1, 0]
    if is_pixels_alone or (len(beta) == 2 and min(beta) > 0):
        return ""
    return f"expected {key} with two numbers above 0, got {beta}"


# One number is a square, 0 and less the native size, as in torchvision and fastreid.
_SIZE = Numbers((1, 2), Range(-1), "[rows, columns] in pixels", whole=True)
_TWO_SIDES = Numbers((2,), COUNT, "[rows, columns]", whole=True)
_CORRUPTS = is_on("INPUT.CORRUPTION") | _recipe(*CORRUPTING)
_CHANGES_CHANNELS = is_on("INPUT.CHANNEL") | _recipe("caj", "pose")
_CHANGES_INFRARED = is_on("INPUT.CHANNEL") | _recipe("caj")


def _has_channel_mode(*modes: str) -> Condition:
    of_visible = _CHANGES_CHANNELS & has_any_of("INPUT.CHANNEL.MODES", *modes)
    return of_visible | (_CHANGES_INFRARED & has_any_of("INPUT.CHANNEL.INFRARED_MODES", *modes))


_ERASES = is_on("INPUT.SOFT_ERASING") | _recipe("cil")
_MIXES = is_on("INPUT.PATCH_MIXING") | _recipe("cil")
_OWN_AUGMIX = is_none_of(
    "INPUT.AUGMIX.METHOD", "fastreid", instead="set INPUT.AUGMIX.METHOD paper"
) & (is_on("INPUT.AUGMIX") | _recipe("cil"))
_PATCH = {"BETA": Read(_beta_problem), "AREA": Read(_area_problem)}
_ASPECT = Range(0, 1, is_above=True)
_JITTER = {"BRIGHTNESS": AT_LEAST_0, "CONTRAST": AT_LEAST_0, "SATURATION": AT_LEAST_0}


def _switch(step: str) -> list[Row]:
    """Build the rows of a step's ENABLED and PROB; with PROB 0 the step would do nothing."""
    section = f"INPUT.{step}"
    return [
        Row(f"{section}.ENABLED", ANYTHING, is_above(f"{section}.PROB")),
        Row(f"{section}.PROB", PROBABILITY, is_on(section)),
    ]


ROWS: list[Row] = [
    *rows_of("INPUT", SIZE_TRAIN=_SIZE, SIZE_TEST=_SIZE),
    Row("INPUT.CROP.ENABLED", ANYTHING),
    *rows_of(
        "INPUT.CROP",
        is_on("INPUT.CROP"),
        SIZE=_SIZE,
        SCALE=Numbers((2,), _ASPECT, "[least, largest share of the image]"),
        RATIO=Numbers((2,), POSITIVE, "[least, largest ratio of width to height]"),
    ),
    *_switch("FLIP"),
    Row("INPUT.PADDING.ENABLED", ANYTHING),
    *rows_of("INPUT.PADDING", is_on("INPUT.PADDING"), MODE=Names(_PADDINGS), SIZE=AT_LEAST_0),
    *_switch("CJ"),
    *rows_of("INPUT.CJ", is_on("INPUT.CJ"), HUE=Range(0, 0.5), **_JITTER),
    Row("INPUT.AFFINE.ENABLED", ANYTHING),
    *_switch("AUTOAUG"),
    *_switch("AUGMIX"),
    Row("INPUT.AUGMIX.METHOD", Names(AUGMIX_METHODS), is_on("INPUT.AUGMIX") | _recipe("cil")),
    *rows_of(
        "INPUT.AUGMIX",
        _OWN_AUGMIX,
        SEVERITY=Range(0.1, 10, is_above=True),
        WIDTH=COUNT,
        DEPTH=Range(1, also=(-1,), hint="-1 samples 1, 2 or 3 for each chain"),
        ALPHA=POSITIVE,
    ),
    *_switch("REA"),
    Row("INPUT.REA.VALUE", COLOUR, is_on("INPUT.REA")),
    *_switch("RPT"),
    *_switch("CORRUPTION"),
    *rows_of(
        "INPUT.CORRUPTION",
        _CORRUPTS,
        NAMES=Names(CORRUPTION_NAMES),
        SEVERITIES=Read(_severities_problem),
        COUNT=(COUNT, is_on("INPUT.CORRUPTION") | _recipe("corrupted")),
        WHERE=Names(PLACES),
        REFERENCE=ANYTHING,
    ),
    Row("INPUT.SOFT_ERASING.ENABLED", ANYTHING, is_above("INPUT.SOFT_ERASING.PROB")),
    *rows_of("INPUT.SOFT_ERASING", _ERASES, PROB=PROBABILITY, ASPECT=_ASPECT, **_PATCH),
    Row("INPUT.PATCH_MIXING.ENABLED", ANYTHING, is_above("INPUT.PATCH_MIXING.PROB")),
    *rows_of("INPUT.PATCH_MIXING", _MIXES, PROB=PROBABILITY, ASPECT=_ASPECT, **_PATCH),
    *rows_of(
        "INPUT.CHANNEL",
        _CHANGES_CHANNELS,
        ENABLED=(
            ANYTHING,
            is_filled("INPUT.CHANNEL.MODES") | is_filled("INPUT.CHANNEL.INFRARED_MODES"),
        ),
        MODES=Names(CHANNEL_MODES),
        INFRARED_MODES=(Names(CHANNEL_MODES), _CHANGES_INFRARED),
        PROB=(PROBABILITY, _has_channel_mode(*CHANNEL_MODES[1:])),
        ERASING_PROB=(PROBABILITY, _has_channel_mode("erasing")),
    ),
    *_switch("GRAYSCALE"),
    *_switch("BLUR"),
    Row(
        "INPUT.BLUR.SIGMA",
        Read(_sigma_problem),
        is_on("INPUT.BLUR"),
    ),
    Row("INPUT.RANDAUGMENT.ENABLED", ANYTHING),
    *rows_of(
        "INPUT.RANDAUGMENT",
        is_on("INPUT.RANDAUGMENT") & is_any_of("INPUT.RANDAUGMENT.TIMM", ""),
        OPERATIONS=COUNT,
        MAGNITUDE=Range(0, 30),
        TIMM=(Read(_timm_problem), is_on("INPUT.RANDAUGMENT")),
    ),
    *_switch("MIXUP"),
    Row("INPUT.MIXUP.ALPHA", POSITIVE, is_on("INPUT.MIXUP")),
    *_switch("CUTMIX"),
    Row("INPUT.CUTMIX.ALPHA", POSITIVE, is_on("INPUT.CUTMIX")),
    *_switch("CUTOUT"),
    Row("INPUT.CUTOUT.SIZE", _TWO_SIDES, is_on("INPUT.CUTOUT")),
    Row("INPUT.VIEWS.RECIPE", Names(RECIPES, may_be_empty=True)),
    *rows_of(
        "INPUT.VIEWS",
        _recipe(*RECIPES),
        COUNT=AT_LEAST_0,
        CROP=(Names(CROPS, may_be_empty=True), _recipe(*RECIPES[:-2])),
        SUPERVISED=Names(("clean", "all")),
        ERASED=(Names(ERASINGS), _recipe("cil")),
        ANCHOR=(Names(ANCHORS), _recipe("dapg")),
    ),
    Row("INPUT.CLEAN_VIEW.SIZE", Numbers((0, 2), COUNT, "[height, width] in pixels", whole=True)),
]


def input_problems(cfg: CfgNode) -> list[str]:
    """List contradictions between keys of ``INPUT`` and others, each with its remedy."""
    return [*_corruption(cfg), *_batch_mixing(cfg), *_cutout(cfg), *_views(cfg)]


def _corruption(cfg: CfgNode) -> list[str]:
    corruption = cfg.INPUT.CORRUPTION
    key = "SIZE_TRAIN"
    size = list(cfg.INPUT.SIZE_TRAIN)
    if cfg.INPUT.CROP.ENABLED:
        key = "CROP.SIZE"
        size = list(cfg.INPUT.CROP.SIZE)
    kinds = len(corruption.NAMES or COMMON_CORRUPTIONS)
    problems = []
    if len(set(corruption.NAMES)) < len(corruption.NAMES):
        problems.append(
            f"INPUT.CORRUPTION.NAMES repeats a kind, {list(corruption.NAMES)}; name each once"
        )
    if corruption.COUNT > kinds:
        problems.append(
            f"expected INPUT.CORRUPTION.COUNT from 1 to the number of kinds, {kinds}, got "
            f"{corruption.COUNT}; a chain has no kind twice"
        )
    if not corruption.ENABLED and cfg.INPUT.VIEWS.RECIPE not in CORRUPTING:
        return problems
    if corruption.WHERE != "native" and 0 < min(size) < MINIMUM_SIDE:
        problems.append(
            f"corruptions need images of at least {MINIMUM_SIDE} pixels on each side, but "
            f"INPUT.{key} is {size}; enlarge it, or switch them off"
        )
    if corruption.WHERE == "device" and corruption.REFERENCE:
        problems.append(
            "INPUT.CORRUPTION.REFERENCE is computed image by image on the CPU, but WHERE is "
            "device; set WHERE to resized or native, or REFERENCE to False"
        )
    return problems


def _batch_mixing(cfg: CfgNode) -> list[str]:
    inputs = cfg.INPUT
    heads = cfg.MODEL.HEADS
    enabled = [step for step in ("MIXUP", "CUTMIX") if inputs[step].ENABLED]
    if not enabled:
        return []
    keys = " and ".join(f"INPUT.{step}" for step in enabled)
    others = [name for name in cfg.MODEL.LOSSES.NAME if name != "CrossEntropyLoss"]
    rules = (
        (
            not others,
            f"{keys} gives images of two identities, which only CrossEntropyLoss can weigh, but "
            f"MODEL.LOSSES.NAME has {', '.join(others)}; leave CrossEntropyLoss alone in it",
        ),
        (
            heads.CLS_LAYER == "Linear",
            f"{keys} needs logits without a margin, but MODEL.HEADS.CLS_LAYER is "
            f"{heads.CLS_LAYER}; set it to Linear",
        ),
        (
            not inputs.VIEWS.RECIPE,
            f"{keys} mixes different images, but INPUT.VIEWS.RECIPE {inputs.VIEWS.RECIPE} makes "
            "views of one; switch one of them off",
        ),
        (
            sum(inputs[step].PROB for step in enabled) <= 1 + 1e-9,
            "a batch has Mixup or CutMix, not both: expected INPUT.MIXUP.PROB and "
            f"INPUT.CUTMIX.PROB to sum to at most 1, got {inputs.MIXUP.PROB} and "
            f"{inputs.CUTMIX.PROB}; 0.5 each alternates",
        ),
    )
    return [message for holds, message in rules if not holds]


def _cutout(cfg: CfgNode) -> list[str]:
    image = list(cfg.INPUT.SIZE_TRAIN)
    size = list(cfg.INPUT.CUTOUT.SIZE)
    is_judged = cfg.INPUT.CUTOUT.ENABLED and len(image) == len(size) == 2
    if not is_judged or (size[0] < image[0] and size[1] < image[1]):
        return []
    return [
        f"expected INPUT.CUTOUT.SIZE smaller than the image (INPUT.SIZE_TRAIN {image}), got "
        f"{size}; lower it in proportion, [64, 64] is for [384, 128]"
    ]


def _views(cfg: CfgNode) -> list[str]:
    views = cfg.INPUT.VIEWS
    inputs = cfg.INPUT
    recipe = cfg.INPUT.VIEWS.RECIPE
    if recipe not in RECIPES:
        return []
    problems = [
        f"INPUT.VIEWS.RECIPE {recipe} applies INPUT.{step} by itself, to some of the views; set "
        f"INPUT.{step}.ENABLED False, its other keys are read all the same"
        for step in _OWN_STEPS.get(recipe, ())
        if inputs[step].ENABLED
    ]
    fixed = _FIXED_COUNTS.get(recipe)
    if view_count(cfg) < 2 or (fixed and view_count(cfg) != int(fixed[0])):
        expected = fixed or "of at least 2"
        problems.append(
            f"expected INPUT.VIEWS.COUNT {expected} for the recipe {recipe}, got {views.COUNT}; "
            "0 takes the number of its paper"
        )
    if recipe == "cil" and inputs.AUGMIX.METHOD == "fastreid":
        problems.append(
            "INPUT.VIEWS.RECIPE cil needs AugMix of the paper, but INPUT.AUGMIX.METHOD is "
            "fastreid; set it to paper"
        )
    problems += _corrupting_views(cfg)
    size = list(inputs.SIZE_TRAIN)
    if recipe == "strong_weak" and (len(size) != 2 or min(size) <= 0):
        problems.append(
            "expected INPUT.SIZE_TRAIN [rows, columns] with INPUT.VIEWS.RECIPE strong_weak, whose "
            f"weak view is resized to them, got {size}; give both"
        )
    if recipe == "independent" and views.CROP == "shared":
        problems.append(
            "INPUT.VIEWS.CROP shared makes the views of INPUT.VIEWS.RECIPE independent equal; set "
            "it to separate, or take the recipe corrupted or cil"
        )
    return problems


def _corrupting_views(cfg: CfgNode) -> list[str]:
    where = cfg.INPUT.CORRUPTION.WHERE
    recipe = cfg.INPUT.VIEWS.RECIPE
    problems = []
    if recipe in CORRUPTING and where == "native":
        problems.append(
            f"INPUT.VIEWS.RECIPE {recipe} corrupts crops at the size of the network, but "
            f"INPUT.CORRUPTION.WHERE is {where}; set it to resized or device"
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
    kinds = len(cfg.INPUT.CORRUPTION.NAMES or COMMON_CORRUPTIONS)
    if recipe == "dapg" and kinds < 3:
        problems.append(
            "INPUT.VIEWS.RECIPE dapg samples three kinds of corruptions, but "
            f"INPUT.CORRUPTION.NAMES has {kinds}; name at least three, or [] for the 15 common ones"
        )
    return problems
