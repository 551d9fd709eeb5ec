"""AugMix by Pillow's operations and a sum in float64: the oracle of the compiled one."""

import numpy as np
from PIL import Image, ImageOps

from fastreid_ext.data.transforms.augmix_operations import (
    affine_of,
    posterize_bits,
    rotation_degrees,
    solarize_threshold,
)


def mixed_by_pillow(image, plan):
    own = Image.fromarray(image)
    mixed = (1 - plan.share) * image
    for chain, weight in zip(plan.chains, plan.weights, strict=True):
        changed = own
        for operation in chain:
            changed = PILLOW_OPERATIONS[operation.name](changed, operation)
        mixed += plan.share * weight * np.asarray(changed, np.float64)
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def _autocontrast(image, operation):
    return ImageOps.autocontrast(image)


def _equalize(image, operation):
    return ImageOps.equalize(image)


def _posterize(image, operation):
    return ImageOps.posterize(image, posterize_bits(operation))


def _rotate(image, operation):
    return image.rotate(rotation_degrees(operation), resample=Image.Resampling.BILINEAR)


def _solarize(image, operation):
    return ImageOps.solarize(image, solarize_threshold(operation))


def _move(image, operation):
    matrix = affine_of(operation, *image.size)
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )


PILLOW_OPERATIONS = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "rotate": _rotate,
    "solarize": _solarize,
    "shear_x": _move,
    "shear_y": _move,
    "translate_x": _move,
    "translate_y": _move,
}
