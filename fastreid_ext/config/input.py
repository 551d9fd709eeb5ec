"""Keys of ``INPUT``: corruptions, augmentation of images and batches, several views of an image.

``build_transforms`` documents the order of the steps.
"""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_input_keys(inputs: CfgNode) -> None:
    """Add our keys to ``INPUT``."""
    _add_augmix(inputs.AUGMIX)
    _add_corruption(inputs)
    _add_erasing(inputs)
    _add_colour(inputs)
    _add_batch_mixing(inputs)
    _add_views(inputs)


def _add_augmix(augmix: CfgNode) -> None:
    # Variant of AugMix. "fastreid": fastreid's transform, which reads none of the keys below (alpha
    # 0.1, width 3, depth 1, severity 1). "paper": AugMix of the paper, compiled; pixels differ from
    # Pillow's by at most one grey level.
    augmix.METHOD = "fastreid"
    # Upper end of the level of each operation, in (0.1, 10].
    augmix.SEVERITY = 3
    # Number of chains of operations that are mixed.
    augmix.WIDTH = 3
    # Number of operations in a chain; -1: 1, 2 or 3, sampled for each chain.
    augmix.DEPTH = -1
    # Parameter of the Dirichlet and Beta distributions of the weights, alpha of the paper, above 0.
    augmix.ALPHA = 1.0


def _add_corruption(inputs: CfgNode) -> None:
    corruption = inputs.CORRUPTION = CN()
    # Corruptions of ImageNet-C (and rain) on training images.
    corruption.ENABLED = False
    # Probability in [0, 1] that an image is corrupted.
    corruption.PROB = 0.5
    # Names of the corruptions, sampled uniformly; [] = the 15 common ones.
    corruption.NAMES = []
    # Severities, sampled uniformly, from 1 (slight) to 5 (strong).
    corruption.SEVERITIES = [1, 2, 3, 4, 5]
    # Number of corruptions of different names applied one after the other to an image.
    corruption.COUNT = 1
    # Place of the step. "native": before the image is resized (as in CIL's single-modality tests).
    # "resized": at the size of the network, the last step before the tensor. "device": sampled by
    # the loader, applied to the whole batch on MODEL.DEVICE, after erasing and Cut-out; of
    # VIEWS.RECIPE dapg the mixture too.
    corruption.WHERE = "resized"
    # Reference implementation: the pixels of `imagecorruptions` 1.1.2 for the sampled seed, several
    # times slower. False: other pixels of the same distribution. Not for WHERE device.
    corruption.REFERENCE = False


def _add_erasing(inputs: CfgNode) -> None:
    # Soft random erasing (CIL): a rectangle is mixed with Gaussian pixels of mean MODEL.PIXEL_MEAN
    # and deviation MODEL.PIXEL_STD.
    erasing = inputs.SOFT_ERASING = CN()
    erasing.ENABLED = False
    # Probability in [0, 1] that an image is erased.
    erasing.PROB = 0.5
    # Parameters of the Beta distribution of the share of Gaussian pixels; [1.0, 0.0] = Gaussian
    # pixels alone, which is random erasing in "pixel" mode.
    erasing.BETA = [0.5, 1.0]
    # Least and largest area of the rectangle, as shares of the image in (0, 1).
    erasing.AREA = [0.02, 0.4]
    # Least ratio of height to width of the rectangle, in (0, 1]; the largest is its inverse.
    erasing.ASPECT = 0.3

    # Self-patch mixing (CIL): a rectangle is mixed with another rectangle of the same image. Keys
    # as for soft erasing; the Beta distribution is that of the share of the other rectangle.
    mixing = inputs.PATCH_MIXING = CN()
    mixing.ENABLED = False
    mixing.PROB = 0.5
    mixing.BETA = [0.5, 1.0]
    mixing.AREA = [0.02, 0.4]
    mixing.ASPECT = 0.3

    # Cut-out: a rectangle inside a training image takes the colour MODEL.PIXEL_MEAN, which is 0
    # after normalisation.
    cutout = inputs.CUTOUT = CN()
    cutout.ENABLED = False
    # Probability in [0, 1] that an image is cut out.
    cutout.PROB = 0.5
    # Rows and columns of the rectangle in pixels.
    cutout.SIZE = [64, 64]


def _add_colour(inputs: CfgNode) -> None:
    # Channel augmentation (CAJ), after erasing.
    channel = inputs.CHANNEL = CN()
    channel.ENABLED = False
    # Operations on visible images in order: "erasing", "exchange" (one channel for all three),
    # "exchange_or_luminance", "adaptive_gray".
    channel.MODES = ["erasing", "exchange"]
    # Operations on infrared images; [] leaves them as they are. Only data sets with both modalities
    # have infrared images.
    channel.INFRARED_MODES = ["erasing", "adaptive_gray"]
    # Probability in [0, 1] that "exchange" and "adaptive_gray" act on an image.
    channel.PROB = 1.0
    # Probability in [0, 1] that "erasing" acts on an image.
    channel.ERASING_PROB = 0.5

    # Grey images, for views of contrastive pre-training.
    grayscale = inputs.GRAYSCALE = CN()
    grayscale.ENABLED = False
    # Probability in [0, 1] that an image becomes grey.
    grayscale.PROB = 0.2

    # Gaussian blur of the whole image, at the size of the network.
    blur = inputs.BLUR = CN()
    blur.ENABLED = False
    # Probability in [0, 1] that an image is blurred.
    blur.PROB = 0.5
    # Least and largest standard deviation of the Gaussian in pixels, above 0.
    blur.SIGMA = [0.1, 2.0]

    # RandAugment, torchvision's unless TIMM is set.
    rand_augment = inputs.RANDAUGMENT = CN()
    rand_augment.ENABLED = False
    # Number of operations on each image.
    rand_augment.OPERATIONS = 2
    # Strength of the operations, 0 to 30.
    rand_augment.MAGNITUDE = 9
    # timm's RandAugment in timm's notation, e.g. "rand-m9-mstd0.5-inc1": magnitude 9 of 10 with
    # deviation 0.5, increasing strength, two operations, each left out with probability 0.5. "" =
    # torchvision's, with OPERATIONS and MAGNITUDE.
    rand_augment.TIMM = ""


def _add_batch_mixing(inputs: CfgNode) -> None:
    # A batch has Mixup or CutMix, never both, so the sum of their PROB is at most 1.
    for name, alpha in (("MIXUP", 0.2), ("CUTMIX", 1.0)):
        mixing = inputs[name] = CN()
        mixing.ENABLED = False
        # Probability in [0, 1] that a batch is mixed.
        mixing.PROB = 1.0
        # Both parameters of the Beta distribution of the weight of an image, above 0.
        mixing.ALPHA = alpha


def _add_views(inputs: CfgNode) -> None:
    # A second view of each training image, not augmented, in the batch as clean_images (float32,
    # [0, 255]).
    inputs.CLEAN_VIEW = CN()
    # Height and width of that view in pixels; [] = no second view.
    inputs.CLEAN_VIEW.SIZE = []

    views = inputs.VIEWS = CN()
    # Recipe of several views of each image; "" = one view. "independent": COUNT passes through all
    # steps (SimCLR). "corrupted": a clean view and COUNT - 1 corrupted by INPUT.CORRUPTION. "cil":
    # a clean view and COUNT - 1 with soft erasing, patch mixing and AugMix by the keys of these
    # steps; an infrared image stays clean in all. "dapg": q, k1, k2 with one, two, three
    # corruptions, and a mixture k3. "caj": a visible image with the erasing of INPUT.CHANNEL.MODES
    # and with all MODES; an infrared image once, with the INFRARED_MODES. "strong_weak": two passes
    # through all steps, and the image resized alone (ICE). "pose": the image and a pose-changed
    # image of DATASETS.POSITIVES, with the MODES of INPUT.CHANNEL on the latter (stage 2 of DAPG).
    # The steps of a recipe are not ENABLED themselves.
    views.RECIPE = ""
    # Number of views of an image; 0 = as in the paper of the recipe: "independent" 2, "corrupted"
    # and "cil" 3, "dapg" 4, "strong_weak" 3, "caj" and "pose" 2 and no other number.
    views.COUNT = 0
    # Resizing, crop, flip and jitter of the views of an image: "shared" or "separate"; "" = as in
    # the papers, "separate" for "dapg", "caj" and "independent", else "shared". Not read by
    # "strong_weak" and "pose".
    views.CROP = ""
    # Soft erasing and patch mixing of "cil": sampled for "each" further view, "shared" by all
    # further views, or by "all" views with the clean one, as in CIL's released code.
    views.ERASED = "each"
    # Anchor q of "dapg": "corrupted" by n1, as in the paper, or "clean".
    views.ANCHOR = "corrupted"
    # Views that the model's own losses see: "clean", the first view, or "all".
    views.SUPERVISED = "clean"
