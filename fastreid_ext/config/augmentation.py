"""Keys of corruptions and augmentation."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

from fastreid_ext.config.views import add_views_keys

PLACES = ("native", "resized", "device")
AUGMIX_METHODS = ("fastreid", "paper")
CHANNEL_MODES = ("erasing", "exchange", "exchange_or_luminance", "adaptive_gray")


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
    corruption.REFERENCE = False


def _add_augmix(cfg: CfgNode) -> None:
    # Beside fastreid's ENABLED and PROB.
    augmix = cfg.INPUT.AUGMIX
    # "fastreid": fastreid's transform, which reads none of the keys below (alpha 0.1, width 3,
    # depth 1, severity 1). "paper": AugMix of the paper, compiled; at most one grey level apart
    # from Pillow's operations.
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
