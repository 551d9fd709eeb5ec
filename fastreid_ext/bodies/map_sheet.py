"""Picture of bodies beside their condition maps, and of body fits over the images they are of.

Letters: H height, W width.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.body_model import BodyModel
from fastreid_ext.bodies.condition_maps import ConditionMaps, MapRequest
from fastreid_ext.bodies.crop_camera import Placement, camera_around
from fastreid_ext.bodies.pose_sources import pose_bank, random_view
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.pictures.tiles import Pixels, evenly, joined, page, text

_TILE_HEIGHT = 256  # pixels
_LIGHT = np.array([-0.4, 0.6, 0.7])  # from the upper left, in front: x right, y up, z near
_SKIN = np.array([214, 188, 170])  # RGB of a fully lit body


@dataclasses.dataclass(frozen=True, eq=False)
class SheetRow:
    """One body of a sheet.

    Attributes:
        label: line of text above the row.
        request: shape, pose and camera of the body.
        image: (H, W, 3) uint8 RGB image that the body was fitted to, of the size of the request's
            camera; None where there is none.
    """

    label: str
    request: MapRequest
    image: Pixels | None = None


def bank_rows(
    sources: Sequence[str | Path],
    number: int,
    body: BodyModel,
    size: tuple[int, int],
    seed: int,
) -> list[SheetRow]:
    """Choose poses, viewpoints and placements in the crop as an augmentation does.

    Args:
        sources: sources of the poses, as :func:`~fastreid_ext.bodies.pose_sources.pose_bank` takes
            them.
        number: number of rows to choose, at least 1.
        body: model that the poses are given to.
        size: height and width of the maps in pixels.
        seed: seed of all choices.
    """
    rows = []
    rng = np.random.default_rng([seed, len(sources)])
    for named in pose_bank(sources, number, seed):
        betas = body.sample_betas(rng)
        azimuth, elevation = random_view(rng)
        posed = body.pose(betas, named.pose)
        camera = camera_around(posed, azimuth, elevation, *size, Placement.sample(rng))
        label = f"{named.name}, azimuth {azimuth:.0f}, elevation {elevation:.0f}"
        rows.append(SheetRow(label, MapRequest(betas, named.pose, np.zeros(3), camera)))
    return rows


def fit_rows(fits: BodyFits, folder: Path, number: int) -> list[SheetRow]:
    """Choose images with a body fit, evenly spread over the file.

    Args:
        fits: fits of the images of a data set.
        folder: folder that file names are relative to.
        number: largest number of rows.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: an image cannot be decoded, or has another size than its fit.
    """
    return [_fit_row(fits, i, folder) for i in evenly(range(len(fits)), number)]


def _fit_row(fits: BodyFits, i: int, folder: Path) -> SheetRow:
    path = folder / str(fits.file_names[i])
    try:
        image = np.asarray(Image.open(path).convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError(
            f"expected an image, got {path}, which cannot be decoded; restore the file"
        ) from error
    wanted = tuple(fits.image_sizes[i].tolist())
    if image.shape[:2] != wanted:
        raise ValueError(
            f"expected {path} to be {wanted[0]} x {wanted[1]} pixels as its fit has it, got "
            f"{image.shape[0]} x {image.shape[1]}; fit the images as they are"
        )
    azimuth, elevation = fits.viewpoint(i)
    label = f"{path.name}, azimuth {azimuth:.0f}, elevation {elevation:.0f}"
    width = round(_TILE_HEIGHT * wanted[1] / wanted[0])
    image = cv2.resize(image, (width, _TILE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    return SheetRow(label, fits.request(i, height=_TILE_HEIGHT, width=width), image)


def plot_map_sheet(
    rows: Sequence[SheetRow], body: BodyModel, output: Path, title: Sequence[str] = ()
) -> Path:
    """Plot each body with its depth, normals and skeleton, after the image where there is one.

    Args:
        rows: bodies to show, at least one.
        body: model that the requests are of.
        output: path of the PNG file to write.
        title: lines of text above the rows.
    """
    shown = [_row(row, body) for row in rows]
    width = max(row.shape[1] for row in shown)
    missing = [((0, 0), (0, width - row.shape[1]), (0, 0)) for row in shown]
    padded = [
        np.pad(row, pads, constant_values=255) for row, pads in zip(shown, missing, strict=True)
    ]
    return save_pixels(page(padded, title), output)


def _row(row: SheetRow, body: BodyModel) -> Pixels:
    maps = row.request.render(body)
    if row.image is None:
        pictures = {"body": shaded(maps)}
    else:
        pictures = {"image": row.image, "fit over it": over_image(row.image, maps)}
    pictures["depth"] = np.repeat(maps.depth[..., None], 3, axis=2)
    pictures["normal"] = maps.normal
    pictures["skeleton"] = maps.skeleton
    tiles = [
        joined([text(name, picture.shape[1]), picture], axis=0)
        for name, picture in pictures.items()
    ]
    strip = joined(tiles, axis=1)
    return joined([text(row.label, strip.shape[1], align="left"), strip], axis=0)


def shaded(maps: ConditionMaps) -> Pixels:
    """Light the body from the upper left: (H, W, 3) uint8 RGB on white."""
    normals = maps.normal / 127.5 - 1
    light = _LIGHT / np.linalg.norm(_LIGHT)
    brightness = 0.3 + 0.7 * np.clip(normals @ light, 0, 1)
    lit = (brightness[..., None] * _SKIN).astype(np.uint8)
    return np.where(maps.mask[..., None], lit, 255).astype(np.uint8)


def over_image(image: Pixels, maps: ConditionMaps) -> Pixels:
    """Show the lit body over an image of its size, the image shining through a little."""
    mixed = (0.3 * image + 0.7 * shaded(maps)).astype(np.uint8)
    return np.where(maps.mask[..., None], mixed, image)
