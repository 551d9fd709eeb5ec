"""Show references, conditions, generated images and truth side by side."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.body_model import load_body
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.generation.pose_plan.plan import Plan, PlannedImage
from fastreid_ext.generation.sampling.posed_images import request_of
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.pictures.tiles import TILE, evenly, joined, page, text
from projects.DiffID.miniature.measures import files_of

_ROWS = 10
_BLOCKS = 2
_MAPS = ("depth", "normals", "skeleton")


def plot_strips(plan: Plan, sets: Mapping[str, Path], dataset: Path, output: Path) -> Path:
    """Plot some planned images: reference, condition maps, and the image of each set.

    Args:
        plan: plan by which all the sets were made.
        sets: folders of the sets, by the word above their column.
        dataset: folder of the real images, with their fits.
        output: path of the PNG file.
    """
    fits = BodyFits.read(dataset)
    found = {name: _by_number(root) for name, root in sets.items()}
    common = set.intersection(*(set(files) for files in found.values()))
    usable = [image for image in plan.images if (image.pid, image.number) in common]
    chosen = evenly(usable, _ROWS * _BLOCKS)
    heads = ["reference", *_MAPS, *sets]
    head = joined([text(word, TILE[1], size=10) for word in heads], axis=1)
    rows = [_row(one, plan, found, dataset, fits) for one in chosen]
    height = len(rows) // _BLOCKS
    blocks = [
        joined([head, *rows[start : start + height]], axis=0)
        for start in range(0, height * _BLOCKS, height)
    ]
    return save_pixels(page([joined(blocks, axis=1, gap=24)]), output)


def _by_number(root: Path) -> dict[tuple[int, int], Path]:
    files, pids, numbers = files_of(root)
    keys = zip(pids.tolist(), numbers, strict=True)
    return dict(zip(keys, files, strict=True))


def _row(
    one: PlannedImage,
    plan: Plan,
    found: Mapping[str, Mapping[tuple[int, int], Path]],
    dataset: Path,
    fits: BodyFits,
) -> NDArray[np.uint8]:
    betas = fits.betas[fits.index(one.reference)]
    body = load_body()
    maps = request_of(one, betas, plan.poses[one.pose], body, TILE).render(body)
    depth = np.repeat(maps.depth[..., None], 3, axis=2)
    images = [_tile(files[one.pid, one.number]) for files in found.values()]
    return joined(
        [_tile(dataset / one.reference), depth, maps.normal, maps.skeleton, *images], axis=1
    )


def _tile(path: Path) -> NDArray[np.uint8]:
    return cv2.resize(read_pixels(path), TILE[::-1], interpolation=cv2.INTER_CUBIC)
