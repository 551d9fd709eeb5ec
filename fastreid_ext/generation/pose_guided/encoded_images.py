"""Outputs of the frozen VAE and image encoder for every crop, computed once and mapped into memory.

The folder of a training holds the numbers, a stamp of each image file whose numbers are there, and
the settings with hashes of the models' weights. A stamp is written when its numbers are on the
disk: a killed process loses the images it was encoding, and an image file that changes costs its
own crops alone.

Letters: N images, V crops of each, c x h x w a latent, D width of the embedding.
"""

import dataclasses
import hashlib
import json
import logging
import math
import os
import shutil
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
        OSError: an image cannot be read, or the disk has too little space.
        ValueError: the folder holds crops of other images, models or settings, or a model yields
            numbers that are not finite.
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
        stamps = _mapped(folder / "stamps.npy", (len(images), 2), np.int64)
        wanted = _stamps_of(images)
        missing = np.flatnonzero((stamps != wanted).any(axis=1))
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
            both = torch.stack([mean, deviation], dim=1).half().cpu()
            found = pipeline.embed(batch).half().cpu()
            _expect_finite([images[place] for place in places], both, found)
            latents[places] = both.view(len(places), versions, *latent).numpy()
            embeddings[places] = found.view(len(places), versions, width).numpy()
            latents.flush()
            embeddings.flush()
            stamps[places] = wanted[places]  # after their numbers are on the disk
            stamps.flush()
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
    """Map a file of numbers, or make it with zeros."""
    if not path.exists():
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        free = shutil.disk_usage(path.parent).free
        if needed > free:
            raise OSError(
                f"expected {needed / 2**20:.0f} MiB of free space for {path}, got "
                f"{free / 2**20:.0f} MiB; free some space, choose another OUTPUT_DIR, or lower "
                "GENERATION.POSE_GUIDED.CROPS"
            )
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape).flush()
        os.replace(partial, path)
    return np.load(path, mmap_mode="r+")


def _stamps_of(images: Sequence[TrainingImage]) -> np.ndarray:
    """Read size and time of the last change of each image file, (N, 2) int64."""
    found = [image.file.stat() for image in images]
    return np.array([(one.st_size, one.st_mtime_ns) for one in found], dtype=np.int64)


def _expect_finite(images: Sequence[TrainingImage], *numbers: Tensor) -> None:
    """Check the numbers of all crops of some images."""
    for rows in numbers:
        finite = rows.view(len(images), -1).isfinite().all(dim=1)
        if not finite.all():
            file = images[int(finite.int().argmin())].file
            raise ValueError(
                f"expected finite latents and embeddings in the range of float16, got others for "
                f"{file}; are the weights of the VAE or of the image encoder damaged? Bring them "
                "again"
            )


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
        total.update(f"{image.data_set} {image.pid} {image.file.name}\n".encode())
    return total.hexdigest()[:16]


def _hash_of_weights(pipeline: PoseGuidedPipeline) -> str:
    total = hashlib.sha256()
    for part in (pipeline.vae, pipeline.image_encoder):
        for name, tensor in sorted(part.state_dict().items()):
            total.update(name.encode())
            total.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]
