"""Compute the VAE's latents of all training images once, and let the data set read them.

Each training step samples the posterior of the VAE from the mean and deviation in the cache, so
caching changes no distribution. Workers no longer resize clean images, and the VAE is in
memory only while it encodes.
"""

import functools
import logging
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from fastreid.config import CfgNode
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from fastreid_ext.atomic import expect_writable, one_writer
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.latent_file import (
    LatentFile,
    LatentSource,
    LatentWriter,
    missing_latents,
    writing_latents,
)
from fastreid_ext.data.packed import stamps_of
from fastreid_ext.diffusion.latents import encode_posterior, latent_shape
from fastreid_ext.modeling.diffusion_branch.parts import autoencoder_fingerprint, load_autoencoder
from fastreid_ext.processes import on_main_process

logger = logging.getLogger(__name__)

_IMAGES_AT_ONCE = 64  # read, encoded and brought to the disk together
_SECONDS_BETWEEN_REPORTS = 10.0
_LONGEST_PREFIX = 60  # characters of a file name
_SIZE_KEY = "INPUT.CLEAN_VIEW.SIZE"


def give_latents(cfg: CfgNode, dataset: PersonDataset) -> None:
    """Replace the clean images of a training set by latents from ``MODEL.DIFFUSION.LATENT_CACHE``.

    The file is computed if it does not exist, and completed if a run was killed or images changed.
    One process encodes; others, of this run or of another, wait as long as it takes.

    Args:
        cfg: configuration of a run with a diffusion branch and a folder for latents.
        dataset: training set, changed in place; its ``clean`` resizes the images to encode.

    Raises:
        OSError: an image cannot be read, or the disk is full; what was encoded is kept.
        ValueError: the file holds other latents or is cut short, or the VAE yields no numbers.
    """
    if dataset.clean is None:
        raise ValueError(
            f"expected {_SIZE_KEY} [height, width] of the images to encode under "
            "MODEL.DIFFUSION.LATENT_CACHE, got []; set it to [128, 128], as in DCAC"
        )
    paths = dataset.img_items.paths
    source = LatentSource.of(
        paths, autoencoder=autoencoder_fingerprint(cfg), size=cfg.INPUT.CLEAN_VIEW.SIZE
    )
    file = Path(cfg.MODEL.DIFFUSION.LATENT_CACHE) / _file_name(cfg, source)
    stamps = stamps_of(paths, dataset.read)
    complete = functools.partial(_complete, cfg, dataset, file, source, stamps)
    on_main_process(complete, "the cache of latents")
    complete()  # on a machine that does not see the main process's folder
    dataset.latents = LatentFile(file, source)
    dataset.clean = None
    logger.info("Latents of %d images: %s", len(paths), file)


def _file_name(cfg: CfgNode, source: LatentSource) -> str:
    names = "-".join(cfg.DATASETS.NAMES)[:_LONGEST_PREFIX]
    height, width = source.size
    return f"{names}-{height}x{width}-{source.key}.latents"


def _complete(
    cfg: CfgNode,
    dataset: PersonDataset,
    file: Path,
    source: LatentSource,
    stamps: NDArray[np.int64],
) -> None:
    """Write what the file lacks, unless another process does so first."""
    if not len(missing_latents(file, source, stamps)):
        return
    expect_writable(file)
    with one_writer(file):
        if len(missing_latents(file, source, stamps)):
            # Loading a model may use random numbers: a run is the same with and without the work.
            with torch.random.fork_rng(devices=[]):
                _write(cfg, dataset, file, source, stamps)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()


def _write(
    cfg: CfgNode,
    dataset: PersonDataset,
    file: Path,
    source: LatentSource,
    stamps: NDArray[np.int64],
) -> None:
    autoencoder = load_autoencoder(cfg)
    shape = latent_shape(autoencoder, source.size, _SIZE_KEY)
    began = time.monotonic()
    with writing_latents(file, source, stamps, shape) as writer:
        count = len(writer.missing)
        logger.info("Encoding %d of %d images to %s", count, source.images, file)
        _encode_missing(autoencoder, dataset, writer)
    seconds = time.monotonic() - began
    megabytes = file.stat().st_size / 1e6
    logger.info("Encoded %d images in %.0f s; the file has %.1f MB", count, seconds, megabytes)


def _encode_missing(
    autoencoder: AutoencoderKL, dataset: PersonDataset, writer: LatentWriter
) -> None:
    reported = time.monotonic()
    with tqdm(total=len(writer.missing), desc="Encoding", unit="image", disable=None) as bar:
        for first in range(0, len(writer.missing), _IMAGES_AT_ONCE):
            places = writer.missing[first : first + _IMAGES_AT_ONCE]
            writer.write(places, _encoded(autoencoder, dataset, places))
            bar.update(len(places))
            if bar.disable and time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                done = first + len(places)
                logger.info("Encoded %d of %d images", done, len(writer.missing))


def _encoded(
    autoencoder: AutoencoderKL, dataset: PersonDataset, places: NDArray[np.integer]
) -> Tensor:
    """Encode the clean view of some images to (B, 2, c, h, w) float16."""
    paths = [dataset.img_items.paths[int(place)] for place in places]
    images = torch.stack([dataset.clean(dataset.read(path)) for path in paths])
    latents = torch.stack(encode_posterior(autoencoder, images), dim=1).half().cpu()
    finite = latents.flatten(1).isfinite().all(dim=1)
    if not finite.all():
        path = paths[int(finite.int().argmin())]
        raise ValueError(
            f"expected finite latents in the range of float16, got others for {path}; are the "
            "VAE's weights damaged? Bring them again, or set MODEL.DIFFUSION.LATENT_CACHE ''"
        )
    return latents
