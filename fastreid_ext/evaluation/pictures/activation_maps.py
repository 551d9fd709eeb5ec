"""Plot of activation maps: where images of an identity resemble its reference image."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


def plot_activation_maps(
    model: nn.Module,
    items: Sequence[Item],
    transform: Callable[[Image.Image], Tensor],
    output: Path,
    *,
    name: str,
    identities: int = 6,
    cameras: int = 5,
    seed: int = 0,
    layers: Sequence[str] = (),
) -> Path:
    """Plot Grad-CAM maps of the similarity with a reference image of the same identity.

    The first image of a row, in a grey frame, is the reference; its own map shows what its feature
    is made of. To the right of each image is its map, bright where it resembles the reference;
    below are the camera and the cosine similarity. Every map is scaled to its own largest value.

    Args:
        model: model in evaluation mode, from images to features.
        items: path, pid and camid of the test images, queries first.
        transform: transform of the test loader, from PIL image to tensor.
        output: path of the PNG file to write.
        name: name of the data set, for the title.
        identities: number of rows, sampled from the identities seen by two cameras.
        cameras: number of images per row, each of another camera.
        seed: random seed of the sampled identities and images.
        layers: names of the modules to look at; see :func:`activation_maps`.

    Raises:
        ValueError: no identity is seen by two cameras, or a layer gives no map.
        OSError: an image cannot be read.
    """
    device = next(model.parameters()).device
    rows = [
        _row(model, chosen, transform, cameras, layers, device)
        for chosen in _sampled_items(items, identities, cameras, seed)
    ]
    title = (
        f"{name}: where images resemble the reference (grey frame)",
        f"Grad-CAM of the cosine similarity at {', '.join(layers) or 'the last feature map'}",
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


def _row(
    model: nn.Module,
    items: list[Item],
    transform: Callable[[Image.Image], Any],
    cameras: int,
    layers: Sequence[str],
    device: torch.device,
) -> Pixels:
    images = torch.stack([transform(read_rgb(path)) for path, _, _ in items]).to(device)
    with torch.no_grad():
        reference = model(images[:1])[0]
    maps, similarity = activation_maps(model, images, reference, layers)
    height = TILE[0] + 2 * FRAME
    width = 2 * (TILE[1] + 2 * FRAME)
    cells = []
    for index, (_, _, camera) in enumerate(items):
        colour = _WHITE if index else QUERY
        caption = text(f"camera {camera}: {similarity[index]:.2f}", width)
        pair = [framed(tile, colour) for tile in _image_and_map(images[index], maps[index])]
        cells.append(joined([joined(pair, axis=1, gap=0), caption], axis=0, gap=0))
    empty = blank(height + caption.shape[0], width)  # for identities seen by fewer cameras
    return joined([*cells, *[empty] * (cameras - len(cells))], axis=1, gap=GAP)


def _image_and_map(image: Tensor, values: NDArray[np.float32]) -> tuple[Pixels, Pixels]:
    pixels = image.detach().cpu().clamp(0, 255).permute(1, 2, 0).numpy() / 255
    pixels = cv2.resize(pixels, TILE[::-1], interpolation=cv2.INTER_AREA)
    values = cv2.resize(values, TILE[::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)
    overlay = show_cam_on_image(
        pixels, values, use_rgb=True, colormap=cv2.COLORMAP_INFERNO, image_weight=0.45
    )
    return (pixels * 255).round().astype(np.uint8), overlay
