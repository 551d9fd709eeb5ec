"""Plot of activation maps: where images of an identity resemble its reference image."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_grad_cam.utils.image import show_cam_on_image
from torch import Tensor, nn

from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.evaluation.activation_maps import activation_maps
from fastreid_ext.evaluation.pictures.rank_lists import QUERY
from fastreid_ext.pictures.png import save_pixels
from fastreid_ext.pictures.tiles import FRAME, GAP, TILE, Pixels, blank, framed, joined, page, text

Item = tuple[str, int, int]  # path, pid, camid
_WHITE = (255, 255, 255)
_CELL = TILE[1] + 2 * FRAME  # width in pixels


@dataclasses.dataclass(frozen=True)
class MappedModel:
    """Model whose activation maps are plotted.

    Attributes:
        model: model in evaluation mode, from images to features.
        transform: transform of the model's test loader, from PIL image to tensor.
        name: short name above its maps, where several models are compared.
        layers: names of the modules to look at; see :func:`activation_maps`.
    """

    model: nn.Module
    transform: Callable[[Image.Image], Tensor]
    name: str = ""
    layers: Sequence[str] = ()


def plot_activation_maps(
    models: Sequence[MappedModel],
    items: Sequence[Item],
    output: Path,
    *,
    name: str,
    identities: int = 6,
    cameras: int = 5,
    seed: int = 0,
) -> Path:
    """Plot Grad-CAM maps of the similarity with a reference image of the same identity.

    The first image of a row, in a grey frame, is the reference; its own map shows what its feature
    is made of. To the right of each image is its map, or a map of each model, bright where it
    resembles the reference; below are the camera and the model's cosine similarity. Every map is
    scaled to its own largest value.

    Args:
        models: models that look at the same images, at least one.
        items: path, pid and camid of the test images, queries first.
        output: path of the PNG file to write.
        name: name of the data set, for the title.
        identities: number of rows, sampled from the identities seen by two cameras.
        cameras: number of images per row, each of another camera.
        seed: random seed of the sampled identities and images.

    Raises:
        ValueError: no identity is seen by two cameras, or a layer gives no map.
        OSError: an image cannot be read.
    """
    rows = [
        _row(models, chosen, cameras) for chosen in _sampled_items(items, identities, cameras, seed)
    ]
    if len(models) > 1:
        rows.insert(0, _header(models, cameras))
    layers = sorted({", ".join(mapped.layers) or "the last feature map" for mapped in models})
    title = (
        f"{name}: where images resemble the reference (grey frame)",
        f"Grad-CAM of the cosine similarity at {' and '.join(layers)}",
    )
    return save_pixels(page(rows, title), output)


def _sampled_items(
    items: Sequence[Item], identities: int, cameras: int, seed: int
) -> list[list[Item]]:
    """Sample for each row a reference and images of other cameras, sorted by camera."""
    rng = np.random.default_rng(seed)
    by_pid: dict[int, dict[int, list[Item]]] = {}
    for item in items:
        by_pid.setdefault(item[1], {}).setdefault(item[2], []).append(item)
    seen_twice = [pid for pid, seen in by_pid.items() if len(seen) > 1]
    if not seen_twice:
        raise ValueError(
            "expected identities seen by two cameras, got none, so there is no reference to "
            "compare with; check the identity and camera labels of query and gallery"
        )
    chosen = []
    for pid in rng.permutation(seen_twice)[:identities]:
        seen = by_pid[pid]
        sampled = rng.permutation(list(seen))[:cameras]
        images = [seen[camera][rng.integers(len(seen[camera]))] for camera in sampled]
        chosen.append([images[0], *sorted(images[1:], key=lambda item: item[2])])
    return chosen


def _header(models: Sequence[MappedModel], cameras: int) -> Pixels:
    """Write the name of each model above its maps, for every image of a row."""
    names = ["image", *(mapped.name for mapped in models)]
    group = joined([text(name, _CELL) for name in names], axis=1, gap=0)
    return joined([group] * cameras, axis=1, gap=GAP)


def _row(models: Sequence[MappedModel], items: list[Item], cameras: int) -> Pixels:
    pictures = [read_rgb(path) for path, _, _ in items]
    by_model = [_maps_of(mapped, pictures) for mapped in models]
    groups = []
    for index, (picture, (_, _, camera)) in enumerate(zip(pictures, items, strict=True)):
        image = _tile(np.asarray(picture) / 255)
        colour = _WHITE if index else QUERY
        cells = [_cell(_as_pixels(image), f"camera {camera}", colour)]
        for maps, similarity in by_model:
            overlay = _overlay(image, maps[index])
            cells.append(_cell(overlay, f"{similarity[index]:.2f}", colour))
        groups.append(joined(cells, axis=1, gap=0))
    empty = blank(*groups[0].shape[:2])  # for identities seen by fewer cameras
    return joined([*groups, *[empty] * (cameras - len(groups))], axis=1, gap=GAP)


def _maps_of(
    mapped: MappedModel, pictures: Sequence[Image.Image]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute maps (B, H, W) and similarities (B,); the first picture is the reference."""
    device = next(mapped.model.parameters()).device
    images = torch.stack([mapped.transform(picture) for picture in pictures]).to(device)
    with torch.no_grad():
        reference = mapped.model(images[:1])[0]
    return activation_maps(mapped.model, images, reference, mapped.layers)


def _cell(tile: Pixels, caption: str, colour: tuple[int, int, int]) -> Pixels:
    return joined([framed(tile, colour), text(caption, _CELL)], axis=0, gap=0)


def _tile(values: NDArray) -> NDArray[np.float32]:
    tile = cv2.resize(values.astype(np.float32), TILE[::-1], interpolation=cv2.INTER_AREA)
    return tile.clip(0, 1)


def _as_pixels(image: NDArray[np.float32]) -> Pixels:
    return (image * 255).round().astype(np.uint8)


def _overlay(image: NDArray[np.float32], values: NDArray[np.float32]) -> Pixels:
    values = cv2.resize(values, TILE[::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)
    return show_cam_on_image(
        image, values, use_rgb=True, colormap=cv2.COLORMAP_INFERNO, image_weight=0.45
    )
