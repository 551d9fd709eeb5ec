"""The entry point of the corruptions: their names, and the checks of arguments.

Letters: H height, W width.
"""

import difflib
import importlib
import numbers
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

RandomSource = np.random.RandomState | np.random.Generator
Corruption = Callable[[NDArray[np.uint8], int, RandomSource, bool], NDArray[np.uint8]]

# Module of this package that holds the function of each name. The first 15 are the common
# corruptions of ImageNet-C in the order of `imagecorruptions`, then its 4 for validation, then
# rain.
_MODULES = {
    "gaussian_noise": "noise",
    "shot_noise": "noise",
    "impulse_noise": "noise",
    "defocus_blur": "defocus_blur",
    "glass_blur": "glass_blur",
    "motion_blur": "motion_blur",
    "zoom_blur": "zoom_blur",
    "snow": "snow",
    "frost": "frost",
    "fog": "fog",
    "brightness": "colour",
    "contrast": "colour",
    "elastic_transform": "elastic_transform",
    "pixelate": "pixelate",
    "jpeg_compression": "jpeg_compression",
    "speckle_noise": "noise",
    "gaussian_blur": "gaussian_blur",
    "spatter": "spatter",
    "saturate": "colour",
    "rain": "rain",
}
CORRUPTION_NAMES = tuple(_MODULES)
COMMON_CORRUPTIONS = CORRUPTION_NAMES[:15]
SEVERITIES = (1, 2, 3, 4, 5)
MINIMUM_SIDE = 32  # pixels; the displacements and kernels of ImageNet-C need it


def corrupt(
    image: NDArray[np.uint8],
    name: str,
    severity: int,
    rng: RandomSource,
    *,
    reference: bool = False,
) -> NDArray[np.uint8]:
    """Corrupt a copy of an image.

    Example:
        >>> image = np.full((64, 32, 3), 100, np.uint8)
        >>> foggy = corrupt(image, "fog", 3, np.random.default_rng(0))
        >>> foggy.shape, foggy.dtype
        ((64, 32, 3), dtype('uint8'))

    Args:
        image: (H, W, 3) uint8 RGB in [0, 255], H and W at least 32; never written to.
        name: name of the corruption, one of :data:`CORRUPTION_NAMES`.
        severity: strength from 1 (slight) to 5 (strong).
        rng: only source of randomness, a ``RandomState`` in reference mode, else a ``Generator``.
        reference: True samples the very numbers that ``imagecorruptions`` 1.1.2 samples from a
            ``RandomState`` in this state (that is, after ``np.random.seed``) and gives its image
            within 1 grey level; a few values of ``spatter`` can be further off, where rounding
            decides whether its edge detector finds an edge. ``rain`` has no reference: it only
            samples from that stream. False gives the same distribution by faster means.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: image, name or severity is not as described.
        TypeError: the generator does not fit the mode.
    """
    function = corruption_of(name)
    _check_image(image)
    _check_severity(severity)
    _check_generator(rng, reference)
    if not (image.flags.c_contiguous and image.flags.writeable and image.flags.aligned):
        image = np.array(image, order="C")  # one layout, so that each kernel is compiled once
    return function(image, int(severity), rng, reference)


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge (H, W, 3) until its shorter side has at least ``MINIMUM_SIDE`` pixels.

    Bilinear, sides in proportion; for corruption at native size, in training and in tests.
    """
    height, width = image.shape[:2]
    if min(height, width) >= MINIMUM_SIDE:
        return image
    scale = MINIMUM_SIDE / min(height, width)
    size = max(MINIMUM_SIDE, round(width * scale)), max(MINIMUM_SIDE, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def corruption_of(name: str) -> Corruption:
    """Find the function of a corruption: (image, severity, rng, reference) -> image, unchecked."""
    if not isinstance(name, str) or name not in _MODULES:
        near = difflib.get_close_matches(str(name).lower(), CORRUPTION_NAMES, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(CORRUPTION_NAMES)}"
        raise ValueError(f"unknown corruption {name!r}; {hint}")
    return getattr(importlib.import_module(f"{__package__}.{_MODULES[name]}"), name)


def _check_image(image: NDArray[np.uint8]) -> None:
    expected = "expected image (H, W, 3) uint8 RGB in [0, 255]"
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{expected}, got {type(image).__name__}; convert it with np.asarray")
    got = f"got {image.shape} {image.dtype}"
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{expected}, {got}; {_shape_hint(image)}")
    if image.dtype != np.uint8:
        raise ValueError(f"{expected}, {got}; {_dtype_hint(image)}")
    if min(image.shape[:2]) < MINIMUM_SIDE:
        raise ValueError(
            f"expected an image of at least {MINIMUM_SIDE}x{MINIMUM_SIDE} pixels, {got}; "
            "resize it before it is corrupted"
        )


def _shape_hint(image: NDArray) -> str:
    if image.ndim == 2:
        return "a grey image needs three equal channels: np.stack([grey] * 3, axis=-1)"
    if image.ndim == 4:
        return "corrupt the images of a batch one by one"
    if image.ndim == 3 and image.shape[0] == 3:
        return "the channels come last: image.transpose(1, 2, 0)"
    return "use three channels, as PIL's image.convert('RGB') gives"


def _dtype_hint(image: NDArray) -> str:
    if not np.issubdtype(image.dtype, np.floating):
        return "convert it with image.astype(np.uint8) after checking its range"
    finite = image[np.isfinite(image)]
    low = finite.min() if finite.size else np.nan
    high = finite.max() if finite.size else np.nan
    return (
        f"its values lie in [{low:.3g}, {high:.3g}]; corrupt before ToTensor and normalisation, "
        "or scale, round and convert with astype(np.uint8)"
    )


def _check_severity(severity: int) -> None:
    is_integer = isinstance(severity, numbers.Integral) and not isinstance(severity, bool)
    if not is_integer or severity not in SEVERITIES:
        raise ValueError(
            f"expected severity 1, 2, 3, 4 or 5, got {severity!r}; leave the image as it is for 0"
        )


def _check_generator(rng: RandomSource, reference: bool) -> None:
    wanted = np.random.RandomState if reference else np.random.Generator
    if isinstance(rng, wanted):
        return
    got = type(rng).__name__
    if reference:
        raise TypeError(
            f"expected a numpy.random.RandomState with reference=True, got {got}; "
            "use np.random.RandomState(seed), the stream that np.random.seed(seed) starts"
        )
    raise TypeError(
        f"expected a numpy.random.Generator with reference=False, got {got}; "
        "use np.random.default_rng(seed), or reference=True with a RandomState"
    )
