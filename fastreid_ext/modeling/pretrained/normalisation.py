"""How the images were normalised that a network was pre-trained on.

Weights work only with the normalisation they were trained with; fastreid does it inside the model,
with ``MODEL.PIXEL_MEAN`` and ``PIXEL_STD`` in units of 0 to 255.
"""

import dataclasses
from collections.abc import Sequence

# Half a grey level: files write the same constants with three to eight digits.
_TOLERANCE = 0.5 / 255


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each of R, G, B, of images in [0, 1]; ``name`` says whose."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    name: str

    def is_of(self, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> bool:
        """Whether these are the values, in units of 0 to 255."""
        ours, theirs = (*self.mean, *self.std), (*pixel_mean, *pixel_std)
        return len(ours) == len(theirs) and all(
            abs(one - other / 255) < _TOLERANCE for one, other in zip(ours, theirs, strict=True)
        )

    def keys(self) -> str:
        """Return what to add to a command line."""
        mean, std = (
            "[" + ",".join(f"{round(255 * value, 3):g}" for value in values) + "]"
            for values in (self.mean, self.std)
        )
        return f'MODEL.PIXEL_MEAN "{mean}" MODEL.PIXEL_STD "{std}"'


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
    """Return what a file declares, in [0, 1], with the name of the known one it is."""
    pixels = [255 * value for value in mean], [255 * value for value in std]
    name = next((known.name for known in KNOWN.values() if known.is_of(*pixels)), "its own")
    return Normalisation(tuple(mean), tuple(std), name)


def normalisation_problem(
    expected: Sequence[Normalisation], pixel_mean: Sequence[float], pixel_std: Sequence[float]
) -> str:
    """Say what is wrong with the configured normalisation, "" where nothing is.

    Args:
        expected: what such weights are trained with, the usual first; several where the file does
            not say which.
        pixel_mean: ``MODEL.PIXEL_MEAN``, 0 to 255.
        pixel_std: ``MODEL.PIXEL_STD``, 0 to 255.
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
