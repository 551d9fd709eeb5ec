"""Keys of corruptions and augmentation, and what can be wrong with them."""

from collections.abc import Iterable

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

from fastreid_ext.config.views import CORRUPTING, ERASINGS, RECIPES, add_views_keys, views_problems

# The corruptions, as in fastreid_ext.data.transforms.corruptions, which a test compares.
KNOWN_CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression", "speckle_noise", "gaussian_blur", "spatter", "saturate", "rain",
)  # fmt: skip
COMMON = KNOWN_CORRUPTIONS[:15]
PLACES = ("native", "resized", "device")
AUGMIX_METHODS = ("fastreid", "exact", "fast")
CHANNEL_MODES = ("erasing", "exchange", "exchange_or_luminance", "adaptive_gray")
MINIMUM_SIDE = 32  # of a corrupted image, in pixels


def add_augmentation_keys(cfg: CfgNode) -> None:
    """Add our keys beside fastreid's in ``INPUT``; ``build_transforms`` says their order."""
    _add_corruption(cfg)
    _add_augmix(cfg)
    _add_steps(cfg)
    _add_batch_mixing(cfg)
    add_views_keys(cfg)


def _add_corruption(cfg: CfgNode) -> None:
    corruption = cfg.INPUT.CORRUPTION = CN()
    # Corruptions of ImageNet-C (and rain) on training images.
    corruption.ENABLED = False
    # Probability in [0, 1] of an image to be corrupted.
    corruption.PROB = 0.5
    # Kinds to draw from, uniformly; [] = the 15 common ones.
    corruption.NAMES = []
    # Severities to draw from, uniformly, 1 (slight) to 5 (strong).
    corruption.SEVERITIES = [1, 2, 3, 4, 5]
    # Corruptions of different kinds one after the other on one image.
    corruption.COUNT = 1
    # "native": before the image is resized (as CIL's single-modality tests). "resized": at the size
    # of the network, the last step before the tensor. "device": the loader draws, the whole batch
    # is corrupted on MODEL.DEVICE, so after erasing and Cut-out.
    corruption.WHERE = "resized"
    # True: pixels of `imagecorruptions` 1.1.2 for the drawn seed, several times slower; False: the
    # same distribution. Not for WHERE device.
    corruption.FAITHFUL = False


def _add_augmix(cfg: CfgNode) -> None:
    # Beside fastreid's ENABLED and PROB.
    augmix = cfg.INPUT.AUGMIX
    # "fastreid": its transform, which reads none of the keys below (alpha 0.1, width 3, depth 1,
    # severity 1). "exact": AugMix of the paper with Pillow's operations. "fast": the same plan with
    # compiled operations, at most one grey level apart.
    augmix.METHOD = "fastreid"
    # Upper end of the level of each operation, in (0.1, 10].
    augmix.SEVERITY = 3
    # Number of chains that are mixed.
    augmix.WIDTH = 3
    # Operations in a chain; -1: 1, 2 or 3, drawn for each.
    augmix.DEPTH = -1
    # Parameter of the Dirichlet and Beta distributions of the weights, alpha of the paper, > 0.
    augmix.ALPHA = 1.0


def _add_steps(cfg: CfgNode) -> None:
    # Soft random erasing (CIL): with PROB in [0, 1] a rectangle is mixed with Gaussian pixels
    # (MODEL.PIXEL_MEAN, MODEL.PIXEL_STD); their share is Beta distributed with parameters BETA;
    # [1.0, 0.0] = pixels alone, which is random erasing in "pixel" mode.
    # AREA: least and largest share of the image; ASPECT: least ratio of height to width.
    erasing = cfg.INPUT.SOFT_ERASING = CN({"ENABLED": False, "PROB": 0.5, "BETA": [0.5, 1.0]})
    erasing.AREA = [0.02, 0.4]
    erasing.ASPECT = 0.3
    # Self-patch mixing (CIL): the same, with another rectangle of the image for the noise.
    mixing = cfg.INPUT.PATCH_MIXING = CN({"ENABLED": False, "PROB": 0.5, "BETA": [0.5, 1.0]})
    mixing.AREA = [0.02, 0.4]
    mixing.ASPECT = 0.3

    channel = cfg.INPUT.CHANNEL = CN()
    # Channel augmentation (CAJ), after erasing.
    channel.ENABLED = False
    # Operations, in this order: "erasing", "exchange" (one channel for all three),
    # "exchange_or_luminance", "adaptive_gray". CAJ: visible ["erasing", "exchange"], infrared
    # ["erasing", "adaptive_gray"].
    channel.MODES = ["erasing", "exchange"]
    # Probability in [0, 1] of "exchange" and "adaptive_gray" to act on an image.
    channel.PROB = 1.0
    # Probability in [0, 1] of "erasing".
    channel.ERASING_PROB = 0.5

    # Images in grey with probability PROB, for views of contrastive pre-training.
    cfg.INPUT.GRAYSCALE = CN({"ENABLED": False, "PROB": 0.2})
    # torchvision's RandAugment: OPERATIONS on each image, of strength MAGNITUDE (0 to 30).
    cfg.INPUT.RANDAUGMENT = CN({"ENABLED": False, "OPERATIONS": 2, "MAGNITUDE": 9})


def _add_batch_mixing(cfg: CfgNode) -> None:
    # Mixup of a batch with probability PROB; the weight is Beta(ALPHA, ALPHA) distributed.
    cfg.INPUT.MIXUP = CN({"ENABLED": False, "PROB": 1.0, "ALPHA": 0.2})
    # CutMix, likewise. Of both at most one is drawn for a batch, so the sum of PROB is at most 1.
    cfg.INPUT.CUTMIX = CN({"ENABLED": False, "PROB": 1.0, "ALPHA": 1.0})


def augmentation_problems(cfg: CfgNode) -> list[str]:
    """Return wrong numbers and contradictions, each with what to do."""
    problems = [*_probabilities(cfg), *_numbers(cfg), *_corruption(cfg), *_batch_mixing(cfg)]
    return problems + views_problems(cfg)


def augmentation_names(cfg: CfgNode) -> list[tuple[str, Iterable[str], Iterable[str]]]:
    """Return the keys that hold names, what they hold and what is known."""
    inputs = cfg.INPUT
    recipe = [inputs.VIEWS.RECIPE] if inputs.VIEWS.RECIPE else []
    return [
        ("INPUT.CORRUPTION.NAMES", inputs.CORRUPTION.NAMES, KNOWN_CORRUPTIONS),
        ("INPUT.CORRUPTION.WHERE", [inputs.CORRUPTION.WHERE], PLACES),
        ("INPUT.AUGMIX.METHOD", [inputs.AUGMIX.METHOD], AUGMIX_METHODS),
        ("INPUT.CHANNEL.MODES", inputs.CHANNEL.MODES, CHANNEL_MODES),
        ("INPUT.VIEWS.RECIPE", recipe, RECIPES),
        ("INPUT.VIEWS.ERASED", [inputs.VIEWS.ERASED], ERASINGS),
    ]


def _probabilities(cfg: CfgNode) -> list[str]:
    keys = [
        f"{step}.PROB"
        for step in ("CORRUPTION", "SOFT_ERASING", "PATCH_MIXING", "CHANNEL", "GRAYSCALE")
    ]
    keys += ["AUGMIX.PROB", "CHANNEL.ERASING_PROB", "MIXUP.PROB", "CUTMIX.PROB"]
    values = {key: cfg.INPUT[key.split(".")[0]][key.split(".")[1]] for key in keys}
    return [
        f"expected INPUT.{key} in [0, 1], got {value}"
        for key, value in values.items()
        if not 0 <= value <= 1
    ]


def _numbers(cfg: CfgNode) -> list[str]:
    inputs, augmix = cfg.INPUT, cfg.INPUT.AUGMIX
    rules = [
        (
            0.1 < augmix.SEVERITY <= 10,
            f"expected INPUT.AUGMIX.SEVERITY in (0.1, 10], got {augmix.SEVERITY}",
        ),
        (
            inputs.CHANNEL.MODES or not inputs.CHANNEL.ENABLED,
            "INPUT.CHANNEL is ENABLED but its MODES are empty; name at least one, or disable it",
        ),
        (augmix.WIDTH >= 1, f"expected INPUT.AUGMIX.WIDTH of at least 1, got {augmix.WIDTH}"),
        (
            augmix.DEPTH == -1 or augmix.DEPTH >= 1,
            f"expected INPUT.AUGMIX.DEPTH of at least 1, or -1 (drawn), got {augmix.DEPTH}",
        ),
        (
            inputs.RANDAUGMENT.OPERATIONS >= 1 and 0 <= inputs.RANDAUGMENT.MAGNITUDE <= 30,
            "expected INPUT.RANDAUGMENT.OPERATIONS of at least 1 and MAGNITUDE in [0, 30], got "
            f"{inputs.RANDAUGMENT.OPERATIONS} and {inputs.RANDAUGMENT.MAGNITUDE}",
        ),
    ]
    rules += [
        (inputs[step].ALPHA > 0, f"expected INPUT.{step}.ALPHA > 0, got {inputs[step].ALPHA}")
        for step in ("AUGMIX", "MIXUP", "CUTMIX")
    ]
    for step in ("SOFT_ERASING", "PATCH_MIXING"):
        rules += _patch_rules(step, inputs[step])
    return [message for holds, message in rules if not holds]


def _patch_rules(step: str, keys: CfgNode) -> list[tuple[bool, str]]:
    area, beta = list(keys.AREA), list(keys.BETA)
    return [
        (
            len(area) == 2 and 0 < area[0] <= area[1] < 1,
            f"expected INPUT.{step}.AREA [least, largest] inside (0, 1), got {area}",
        ),
        (0 < keys.ASPECT <= 1, f"expected INPUT.{step}.ASPECT in (0, 1], got {keys.ASPECT}"),
        (
            len(beta) == 2 and (min(beta) > 0 or (step, beta) == ("SOFT_ERASING", [1, 0])),
            f"expected INPUT.{step}.BETA with two numbers above 0, got {beta}",
        ),
    ]


def _corruption(cfg: CfgNode) -> list[str]:
    corruption, key, size = cfg.INPUT.CORRUPTION, "SIZE_TRAIN", list(cfg.INPUT.SIZE_TRAIN)
    if cfg.INPUT.CROP.ENABLED:
        key, size = "CROP.SIZE", list(cfg.INPUT.CROP.SIZE)
    severities, kinds = list(corruption.SEVERITIES), len(corruption.NAMES or COMMON)
    problems = []
    if not severities or not set(map(str, severities)) <= set("12345"):
        problems.append(
            f"expected INPUT.CORRUPTION.SEVERITIES to list some of 1, 2, 3, 4, 5, got {severities}"
        )
    if len(set(corruption.NAMES)) < len(corruption.NAMES):
        problems.append(
            f"INPUT.CORRUPTION.NAMES repeats a kind, {list(corruption.NAMES)}; name each once"
        )
    if not 1 <= corruption.COUNT <= kinds:
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
    if corruption.WHERE == "device" and corruption.FAITHFUL:
        problems.append(
            "INPUT.CORRUPTION.FAITHFUL is computed image by image on the CPU, but WHERE is device; "
            "set WHERE to resized or native, or FAITHFUL to False"
        )
    return problems


def _batch_mixing(cfg: CfgNode) -> list[str]:
    inputs, heads = cfg.INPUT, cfg.MODEL.HEADS
    enabled = [step for step in ("MIXUP", "CUTMIX") if inputs[step].ENABLED]
    if not enabled:
        return []
    keys = " and ".join(f"INPUT.{step}" for step in enabled)
    others = [name for name in cfg.MODEL.LOSSES.NAME if name != "CrossEntropyLoss"]
    rules = (
        (
            not others,
            f"{keys} gives images of two persons, which only CrossEntropyLoss can weigh, but "
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
