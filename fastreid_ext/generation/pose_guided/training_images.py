"""Training images of a pose-guided generator: identities, and the body in each image."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.bodies.body_fits import FITS_FILE, BodyFits
from fastreid_ext.bodies.fits_check import fits_problems
from fastreid_ext.generation.identities.source_identities import source_identities_of

logger = logging.getLogger(__name__)

_KEY = "GENERATION.POSE_GUIDED.FITS"


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingImage:
    """An image and the body in it.

    Attributes:
        file: path of the image file.
        data_set: name of the data set in fastreid's registry.
        pid: number of the identity in its data set.
        camera: camera of the image, as fastreid counts.
        fits: fits of the data set.
        row: row of the image in ``fits``.
    """

    file: Path
    data_set: str
    pid: int
    camera: int
    fits: BodyFits
    row: int

    @property
    def identity(self) -> tuple[str, int]:
        """Data set and number, which name an identity among all sets."""
        return self.data_set, self.pid


def training_images(cfg: CfgNode) -> list[TrainingImage]:
    """List the training images of ``DATASETS.NAMES`` that have a body fit, in a fixed order.

    Raises:
        FileNotFoundError: a set or its fits are missing.
        ValueError: fits of another number of sets, damaged fits, or no image with a fit.
    """
    names = list(cfg.DATASETS.NAMES)
    found = [
        image
        for name, fits in zip(names, fits_of_sets(cfg), strict=True)
        for image in _images_of_set(cfg, name, fits)
    ]
    if not found:
        raise ValueError(
            f"expected training images of {', '.join(names)} with a body fit, got none; the file "
            f"names of {_KEY} must be relative to the folder of the data set"
        )
    return found


def fits_of_sets(cfg: CfgNode) -> list[BodyFits]:
    """Read the body fits of each set of ``DATASETS.NAMES``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file has another layout, or the number of files is not that of the sets.
    """
    return [BodyFits.read(path) for path in fits_files(cfg)]


def fits_files(cfg: CfgNode) -> list[Path]:
    """List the file of body fits of each set of ``DATASETS.NAMES``.

    Raises:
        ValueError: the number of files in ``GENERATION.POSE_GUIDED.FITS`` is not that of the sets.
    """
    names = list(cfg.DATASETS.NAMES)
    paths = [Path(path).expanduser() for path in cfg.GENERATION.POSE_GUIDED.FITS]
    paths = paths or [folder_of_set(cfg, name) / FITS_FILE for name in names]
    if len(paths) != len(names):
        raise ValueError(
            f"expected a file in {_KEY} for each of DATASETS.NAMES, got {len(paths)} for "
            f"{len(names)} sets"
        )
    return paths


def folder_of_set(cfg: CfgNode, name: str) -> Path:
    """Find the folder of a set that holds its body fits, or else the one above its images."""
    first = source_identities_of(cfg, name)[0].files[0]
    with_fits = (folder for folder in first.parents if (folder / FITS_FILE).is_file())
    return next(with_fits, first.parent.parent)


def problems_of_sets(cfg: CfgNode) -> list[str]:
    """List what is wrong with the fits of ``DATASETS.NAMES`` and with the images they are of."""
    body = cfg.GENERATION.POSE_GUIDED.BODY_MODEL or None
    return [
        f"{name}: {problem}"
        for name, fits in zip(cfg.DATASETS.NAMES, fits_of_sets(cfg), strict=True)
        for problem in fits_problems(fits, folder_of_set(cfg, name), body)
    ]


def expect_sound_fits(cfg: CfgNode) -> None:
    """Check the fits before a training, without the images.

    Raises:
        ValueError: most fits of a set are of other units or axes; single bad fits are logged.
    """
    body = cfg.GENERATION.POSE_GUIDED.BODY_MODEL or None
    for name, fits in zip(cfg.DATASETS.NAMES, fits_of_sets(cfg), strict=True):
        for problem in fits_problems(fits, body_path=body):
            number = problem.partition(" ")[0]
            if number.isdigit() and 2 * int(number) > len(fits):
                raise ValueError(f"body fits of {name}: {problem}")
            logger.warning("body fits of %s: %s", name, problem)


def _images_of_set(cfg: CfgNode, name: str, fits: BodyFits) -> list[TrainingImage]:
    images = []
    without = 0
    for identity in source_identities_of(cfg, name):
        for file, camera in zip(identity.files, identity.cameras, strict=True):
            row = _row_of(fits, file)
            if row is None:
                without += 1
                continue
            images.append(TrainingImage(file, name, identity.pid, camera, fits, row))
    if without:
        logger.warning("%d images of %s have no body fit and are left out", without, name)
    return images


def _row_of(fits: BodyFits, file: Path) -> int | None:
    """Find the fit of a file by the end of its path that the fits name."""
    parts: Sequence[str] = file.parts
    for length in range(1, len(parts) + 1):
        name = "/".join(parts[-length:])
        if name in fits:
            return fits.index(name)
    return None
