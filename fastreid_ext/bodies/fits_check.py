"""Find what is wrong with body fits before a generator is trained on them.

Letters: N images.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.bodies.upright import posture, tilts_deg

_EXAMPLES = 3  # names that a problem lists
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_CAMERA_UP = (0.0, -1.0, 0.0)
_LARGEST_ANGLE = 2 * np.pi + 0.1
_LARGEST_BETA = 10
_NEAREST_M = 0.05
_LEAST_INSIDE = 0.25  # share of the joints; a crop may cut a person at the waist
_PLAUSIBLE_HEIGHTS = (0.15, 4.0)  # of the body's joints, in heights of the image
_LEAST_CONTRAST = 6  # standard deviation in grey levels; noise of a camera alone has about 3


def fits_problems(
    fits: BodyFits, image_folder: str | Path | None = None, body_path: str | Path | None = None
) -> list[str]:
    """List what is wrong with fits, one sentence each; an empty list means they can be used.

    Found are NaN, angles in degrees, betas beyond what bodies have, millimetres instead of metres,
    people who lie or stand on their heads, bodies behind the camera or outside their image, images
    without a fit, fits without an image, sizes that are not those of the images, and images that
    are damaged or nearly of one colour.

    Args:
        fits: fits of the images of a data set.
        image_folder: folder that file names are relative to; None leaves the images unread.
        body_path: SMPL file that the fits were made with; None takes the shipped body, which is
            near enough for these tests.
    """
    problems = _number_problems(fits)
    usable = fits.subset(np.flatnonzero(_usable_rows(fits)))
    if len(usable):
        postures = np.array([posture(tilt) for tilt in tilts_deg(usable.poses, up=_CAMERA_UP)])
        problems += _posture_problems(usable, postures)
        upright = usable.subset(np.flatnonzero(postures == "upright"))
        problems += _place_problems(upright, body_path) if len(upright) else []
    if image_folder is not None:
        problems += _image_problems(fits, Path(image_folder))
    return problems


def misplaced_rows(fits: BodyFits, body_path: str | Path | None = None) -> np.ndarray:
    """Mask (N,) the fits whose body is not in its image: outside, behind the camera, too small.

    Args:
        fits: fits of the images of a data set.
        body_path: SMPL file that the fits were made with; None takes the shipped body.
    """
    misplaced = np.ones(len(fits), dtype=bool)
    usable = np.flatnonzero(_usable_rows(fits))
    if len(usable):
        rules = _place_rules(fits.subset(usable), body_path)
        misplaced[usable] = np.logical_or.reduce([bad for bad, _, _ in rules])
    return misplaced


def is_nearly_one_colour(pixels: np.ndarray) -> bool:
    """Tell whether an image shows nothing: its grey levels hardly differ.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Example:
        >>> is_nearly_one_colour(np.full((8, 4, 3), 90, np.uint8))
        True
    """
    return bool(pixels.astype(np.float32).std(axis=(0, 1)).max() < _LEAST_CONTRAST)


def _finite_rows(fits: BodyFits) -> np.ndarray:
    arrays = (fits.betas, fits.poses, fits.translations, fits.focal_px, fits.centre_px)
    rows = [np.isfinite(values.reshape(len(fits), -1)).all(axis=1) for values in arrays]
    return np.logical_and.reduce(rows)


def _usable_rows(fits: BodyFits) -> np.ndarray:
    """Mask the fits whose body can be placed before a camera at all."""
    return _finite_rows(fits) & (fits.focal_px.min(axis=1) > 0) & (fits.image_sizes.min(axis=1) > 0)


def _problems_of(bad: np.ndarray, names: Sequence[str], found: str, advice: str) -> list[str]:
    """Describe the rows that are bad in one sentence; no sentence for none."""
    if not bad.any():
        return []
    some = ", ".join(np.asarray(names)[bad][:_EXAMPLES].tolist())
    more = ", ..." if bad.sum() > _EXAMPLES else ""
    return [f"{bad.sum()} of {len(bad)} fits: {found} ({some}{more}); {advice}"]


def _problems_of_rules(
    rules: Sequence[tuple[np.ndarray, str, str]], names: Sequence[str]
) -> list[str]:
    """Describe the bad rows of each rule (bad rows, what was found, advice)."""
    return [
        text for bad, found, advice in rules for text in _problems_of(bad, names, found, advice)
    ]


def _number_problems(fits: BodyFits) -> list[str]:
    angles = np.linalg.norm(fits.poses, axis=2).max(axis=1)
    largest_beta = np.abs(fits.betas).max(axis=1)
    rules = (
        (~_finite_rows(fits), "NaN or infinity", "leave these images out"),
        (
            angles > _LARGEST_ANGLE,
            "axis-angle vectors longer than a full turn",
            "are they in degrees? Save radians",
        ),
        (
            largest_beta > _LARGEST_BETA,
            f"betas beyond {_LARGEST_BETA} standard deviations",
            "save SMPL's shape coefficients; a fit like this has failed",
        ),
        (
            fits.focal_px.min(axis=1) <= 0,
            "a focal length that is not positive",
            "save focal_px in pixels of the image",
        ),
        (
            fits.image_sizes.min(axis=1) <= 0,
            "an image size that is not positive",
            "save height and width",
        ),
    )
    return _problems_of_rules(rules, fits.file_names)


def _posture_problems(fits: BodyFits, postures: np.ndarray) -> list[str]:
    upside_down = postures == "upside down"
    advice = "leave these out if the people do not really do that"
    if upside_down.mean() > 0.5:
        advice = (
            "the poses seem to be in axes with y up: turn each global orientation and translation "
            "by 180 degrees about x"
        )
    problems = _problems_of(upside_down, fits.file_names, "the person is upside down", advice)
    lying = postures == "lying"
    advice = "leave these out if the people do not really lie"
    if lying.mean() > 0.5:
        advice = (
            "the poses seem to be in the axes of a world with z up: save global orientations in "
            "camera axes (x right, y down, z forward)"
        )
    return problems + _problems_of(lying, fits.file_names, "the person lies", advice)


def _place_problems(fits: BodyFits, body_path: str | Path | None) -> list[str]:
    """Find upright bodies that are not where their image looks, and why."""
    return _problems_of_rules(_place_rules(fits, body_path), fits.file_names)


def _place_rules(
    fits: BodyFits, body_path: str | Path | None
) -> Sequence[tuple[np.ndarray, str, str]]:
    """Mask the fits that break each rule of place, with what was found and the advice."""
    joints = load_body(body_path).joints_batch(fits.betas, fits.poses, fits.translations)
    depth = joints[:, :, 2]
    behind = depth.min(axis=1) <= _NEAREST_M
    pixels = joints[:, :, :2] / np.maximum(depth, _NEAREST_M)[:, :, None]
    pixels = pixels * fits.focal_px[:, None] + fits.centre_px[:, None]
    sides = fits.image_sizes[:, ::-1][:, None]
    inside = ((pixels >= 0) & (pixels <= sides)).all(axis=2).mean(axis=1)
    tall = np.ptp(pixels[:, :, 1], axis=1) / sides[:, 0, 1]
    low, high = _PLAUSIBLE_HEIGHTS
    small = ~behind & (tall < low)
    large = ~behind & (tall > high)
    millimetres = small & (1000 * tall >= low) & (1000 * tall <= high)
    outside = ~behind & ~small & ~large & (inside < _LEAST_INSIDE)
    own_pixels = "check translations and focal_px; both belong to this image's own pixels"
    return (
        (
            behind,
            "the body is behind or around the camera",
            "save translations in camera axes, z forward, in metres",
        ),
        (
            millimetres,
            "the body is a thousand times too far away",
            "are translations in millimetres? Save metres",
        ),
        (small & ~millimetres, f"the body is less than {low:.0%} of the image tall", own_pixels),
        (large, f"the body is more than {high:.0f} images tall", own_pixels),
        (
            outside,
            f"the body is outside the image (fewer than {_LEAST_INSIDE:.0%} of its joints in it)",
            "check translations and centre_px; of a crop, centre_px is relative to its corner",
        ),
    )


def _image_problems(fits: BodyFits, folder: Path) -> list[str]:
    names = fits.file_names.tolist()
    missing = np.array([not (folder / name).is_file() for name in names], dtype=bool)
    problems = _problems_of(
        missing,
        names,
        f"no such image in {folder}",
        "names are relative to that folder; remove fits of images that are gone",
    )
    other = np.zeros(len(names), dtype=bool)
    damaged = np.zeros(len(names), dtype=bool)
    empty = np.zeros(len(names), dtype=bool)
    found = Counter()
    for i in np.flatnonzero(~missing):
        try:
            with Image.open(folder / names[i]) as image:
                pixels = np.asarray(image.convert("RGB"))
        except OSError:
            damaged[i] = True
            continue
        size = pixels.shape[:2]
        empty[i] = is_nearly_one_colour(pixels)
        other[i] = size != tuple(fits.image_sizes[i])
        if other[i]:
            wanted = "x".join(map(str, fits.image_sizes[i]))
            found[f"{wanted} instead of {size[0]}x{size[1]}"] += 1
    sizes = ", ".join(text for text, _ in found.most_common(2))
    rules = (
        (
            other,
            f"image_sizes (height x width) are {sizes}",
            "fit the images as they are, or scale focal_px and centre_px with them",
        ),
        (damaged, "the image cannot be read", "bring it again, or leave its fit out"),
        (empty, "the image is nearly of one colour, so it shows no person", "leave its fit out"),
    )
    return [*problems, *_problems_of_rules(rules, names), *_images_without_fit(fits, folder)]


def _images_without_fit(fits: BodyFits, folder: Path) -> list[str]:
    """Find images that lie beside fitted ones but have no fit themselves."""
    without = []
    total = 0
    for parent in sorted({Path(name).parent for name in fits.file_names.tolist()}):
        if not (folder / parent).is_dir():
            continue
        images = [path for path in (folder / parent).iterdir() if path.suffix.lower() in _SUFFIXES]
        names = sorted(path.relative_to(folder).as_posix() for path in images)
        total += len(names)
        without += [name for name in names if name not in fits]
    if not without:
        return []
    some = ", ".join(without[:_EXAMPLES]) + (", ..." if len(without) > _EXAMPLES else "")
    return [
        f"{len(without)} of {total} images have no fit ({some}); the generator will not see them"
    ]
