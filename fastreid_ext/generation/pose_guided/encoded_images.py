"""Outputs of the frozen VAE and image encoder for every crop, computed once and mapped into memory.

Letters: N images, V crops of each, c x h x w a latent, D width of the embedding.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from fastreid_ext.atomic import atomic_write_text, one_writer
from fastreid_ext.diffusion.latents import encode_posterior, latent_shape
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.generation.pose_guided.crops import crop_of
from fastreid_ext.generation.pose_guided.training_images import TrainingImage
from fastreid_ext.generation.runs.progress import progress_bar
from fastreid_ext.saved_settings import expect_same

logger = logging.getLogger(__name__)

_IMAGES_AT_ONCE = 16
_SIZE_KEY = "GENERATION.POSE_GUIDED.SIZE"


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedImages:
    """Latents and embeddings of all crops of N images.

    Attributes:
        latents: (N, V, 2, c, h, w) float16 mean and deviation of the VAE's posterior, scaled.
        embeddings: (N, V, D) float16 embeddings of the image encoder.
    """

    latents: np.ndarray
    embeddings: np.ndarray

    def posterior(self, places: Sequence[int], versions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Read mean and deviation (B, c, h, w) float32 of some crops."""
        both = torch.from_numpy(self.latents[list(places), list(versions)]).float()
        return both[:, 0], both[:, 1]

    def context(self, places: Sequence[int], versions: Sequence[int]) -> Tensor:
        """Read embeddings (B, 1, D) float32 of some crops."""
        return torch.from_numpy(self.embeddings[list(places), list(versions)]).float()[:, None]


def encode_images(
    folder: Path,
    pipeline: PoseGuidedPipeline,
    images: Sequence[TrainingImage],
    *,
    size: tuple[int, int],
    versions: int,
    smallest: float,
    seed: int,
) -> EncodedImages:
    """Encode all crops, or what an earlier run left, and map them into memory.

    Args:
        folder: folder of the cache, of this training alone.
        pipeline: generator whose VAE and image encoder are used.
        images: N training images with their fits.
        size: height and width in pixels.
        versions: number V of crops of each image.
        smallest: smallest edge of a crop as a share of the image's.
        seed: seed of the crops.

    Raises:
        OSError: an image cannot be read.
        ValueError: the folder holds crops of other images, models or settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = (len(images), versions)
    latent = (2, *latent_shape(pipeline.vae, size, _SIZE_KEY))
    width = pipeline.image_encoder.config.projection_dim
    settings = {
        "images": _hash_of_names(images),
        "models": _hash_of_weights(pipeline),
        "size": list(size),
        "versions": versions,
        "smallest": smallest,
        "seed": seed,
    }
    with one_writer(folder / "settings.json"):
        _expect_own(folder, settings)
        latents = _mapped(folder / "latents.npy", (*shape, *latent), np.float16)
        embeddings = _mapped(folder / "embeddings.npy", (*shape, width), np.float16)
        done = _mapped(folder / "done.npy", (len(images),), np.bool_)
        missing = np.flatnonzero(~done)
        if len(missing):
            logger.info("encoding %d images in %d crops each", len(missing), versions)
        bar = progress_bar("encoded", len(images), "image", done=len(images) - len(missing))
        for start in range(0, len(missing), _IMAGES_AT_ONCE):
            places = missing[start : start + _IMAGES_AT_ONCE]
            pixels = [
                crop_of(seed, images[place].file.name, version, smallest).pixels(
                    read_fitted(images[place]), *size
                )
                for place in places
                for version in range(versions)
            ]
            batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
            mean, deviation = encode_posterior(pipeline.vae, batch)
            both = torch.stack([mean, deviation], dim=1).cpu()
            latents[places] = both.view(len(places), versions, *latent).numpy()
            found = pipeline.embed(batch).float().cpu()
            embeddings[places] = found.view(len(places), versions, width).numpy()
            latents.flush()
            embeddings.flush()
            done[places] = True  # after its numbers are on the disk
            done.flush()
            bar.update(len(places))
        bar.close()
    return EncodedImages(
        np.load(folder / "latents.npy", mmap_mode="r"),
        np.load(folder / "embeddings.npy", mmap_mode="r"),
    )


def _expect_own(folder: Path, settings: dict) -> None:
    file = folder / "settings.json"
    if not file.exists():
        atomic_write_text(file, json.dumps(settings, indent=1) + "\n")
        return
    expect_same(
        json.loads(file.read_text()),
        settings,
        found=f"expected encoded images of this training in {folder}, got those of another",
        advice="remove the folder, or choose another OUTPUT_DIR",
    )


def _mapped(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    if path.exists():
        return np.load(path, mmap_mode="r+")
    # Its own name at once: "done" says which rows count.
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def read_fitted(image: TrainingImage) -> np.ndarray:
    """Read an image (H, W, 3) uint8 RGB.

    Raises:
        OSError: the image cannot be read.
        ValueError: the image has another size than its fit.
    """
    pixels = cv2.imread(str(image.file), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"cannot read the image {image.file}; bring it again, or leave its fit out")
    fitted = tuple(image.fits.image_sizes[image.row].tolist())
    if pixels.shape[:2] != fitted:
        raise ValueError(
            f"expected {image.file} to be {fitted[0]}x{fitted[1]} (height x width), the size in "
            f"its body fit, got {pixels.shape[0]}x{pixels.shape[1]}; check the fits with "
            "tools/pose_persons.py check-fits"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _hash_of_names(images: Sequence[TrainingImage]) -> str:
    total = hashlib.sha256()
    for image in images:
        total.update(f"{image.file.resolve()} {image.file.stat().st_size}\n".encode())
    return total.hexdigest()[:16]


def _hash_of_weights(pipeline: PoseGuidedPipeline) -> str:
    total = hashlib.sha256()
    for part in (pipeline.vae, pipeline.image_encoder):
        for name, tensor in sorted(part.state_dict().items()):
            total.update(name.encode())
            total.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]
