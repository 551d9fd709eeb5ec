"""Normalisation of the images in pre-training, and whether the configuration agrees with it.

Weights work only with the normalisation that they were trained with. fastreid normalises inside the
model, with ``MODEL.PIXEL_MEAN`` and ``PIXEL_STD`` in units of 0 to 255.
"""

import dataclasses
from collections.abc import Sequence

# Half a grey level: files write the same constants with three to eight digits.
_TOLERANCE = 0.5 / 255


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of R, G and B for images in [0, 1].

    Attributes:
        mean: mean of each channel in [0, 1].
        std: standard deviation of each channel.
        name: owner of the constants in messages, such as "ImageNet's".
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    name: str

    def is_of(self, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> bool:
        """Tell whether mean and deviation in units of 0 to 255 are these."""
        ours = (*self.mean, *self.std)
        theirs = (*pixel_mean, *pixel_std)
        return len(ours) == len(theirs) and all(
            abs(one - other / 255) < _TOLERANCE for one, other in zip(ours, theirs, strict=True)
        )

    def keys(self) -> str:
        """Write the pairs of key and value that set this normalisation on a command line."""
        return (
            f'MODEL.PIXEL_MEAN "{_pixel_list(self.mean)}" MODEL.PIXEL_STD "{_pixel_list(self.std)}"'
        )


def _pixel_list(values: Sequence[float]) -> str:
    return "[" + ",".join(f"{round(255 * value, 3):g}" for value in values) + "]"


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet's")
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "0.5")
# github.com/openai/CLIP, preprocessing of all its models.
CLIP = Normalisation(
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), "CLIP's"
)
# github.com/DengpanFu/LUPerson, lup_moco: statistics of LUPerson's images.
LUPERSON = Normalisation((0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505), "LUPerson's")

KNOWN = {"imagenet": IMAGENET, "half": HALF, "clip": CLIP, "luperson": LUPERSON}


def named(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    """Build a normalisation of images in [0, 1], with the name of the known one it equals."""
    pixel_mean = [255 * value for value in mean]
    pixel_std = [255 * value for value in std]
    matches = (known.name for known in KNOWN.values() if known.is_of(pixel_mean, pixel_std))
    name = next(matches, "its own")
    return Normalisation(tuple(mean), tuple(std), name)


def normalisation_problem(
    expected: Sequence[Normalisation], pixel_mean: Sequence[float], pixel_std: Sequence[float]
) -> str:
    """Describe how the configured normalisation differs from that of the weights.

    Args:
        expected: normalisations such weights are trained with, the usual one first; several where
            the file does not tell which.
        pixel_mean: configured ``MODEL.PIXEL_MEAN``, in units of 0 to 255.
        pixel_std: configured ``MODEL.PIXEL_STD``, in units of 0 to 255.

    Returns:
        A warning with the keys to set, "" where the normalisations agree or nothing is known.
    """
    if not expected or expected[0].is_of(pixel_mean, pixel_std):
        return ""
    usual, *others = expected
    possible = [other for other in others if other.is_of(pixel_mean, pixel_std)]
    if possible:
        return (
            f"such files are usually trained with {usual.name} normalisation, some with "
            f"{possible[0].name}, which is configured; the file does not say which. If it is the "
            f"former, add to the command: {usual.keys()}"
        )
    return (
        f"MODEL.PIXEL_MEAN {[round(float(value), 3) for value in pixel_mean]} and PIXEL_STD "
        f"{[round(float(value), 3) for value in pixel_std]} are not what these weights were "
        f"trained with, {usual.name} normalisation; add to the command: {usual.keys()}"
    )
