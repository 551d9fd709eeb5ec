"""The attribute reference set (ARS in [0]): what the untouched model draws for a prompt.

Fine-tuning keeps these images as they are, so that the model does not forget what the words of the
prompt mean. Persons whose reference prompts are alike share one set.

    reference_sets/<cluster>/settings.json          what made it; a folder that exists is whole
    reference_sets/<cluster>/0000.jpg ...           the images, as they were drawn, to look at
    reference_sets/<cluster>/metadata.jsonl         one row an image: file_name, prompt, seed
    reference_sets/<cluster>/latents.safetensors    the VAE's posterior of the images: mean, std
    reference_sets/<cluster>/grid.png               the first of them in one picture

[0] Niu et al., "Synthesizing Efficient Data with Diffusion Models for Person Re-Identification
    Pre-Training", 2024, section 3.2, https://arxiv.org/abs/2406.06045
"""

import dataclasses
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastreid_ext.atomic import whole_folder
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion
from fastreid_ext.generation.runs.seeds import seed_of
from fastreid_ext.generation.sampling.image_files import FileSettings, encoded, fitted
from fastreid_ext.generation.sampling.sampler import Drawing, Drawn, SamplingSettings, draw
from fastreid_ext.saved_settings import expect_same

FOLDER = "reference_sets"
_GRID = (5, 10)  # rows and columns
_GRID_HEIGHT = 192  # pixels of an image in it, at most
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """How a reference set is made.

    Attributes:
        images: number of images.
        run_seed: ``SEED`` of the job.
        sampling: how they are drawn.
    """

    images: int
    run_seed: int
    sampling: SamplingSettings

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ReferenceSettings":
        """Read ``SEED``, ``GENERATION.REFERENCE_SET`` and ``GENERATION.SAMPLING``."""
        return cls(
            images=cfg.GENERATION.REFERENCE_SET.IMAGES,
            run_seed=cfg.SEED,
            sampling=SamplingSettings.from_config(cfg),
        )


@dataclasses.dataclass(frozen=True)
class ReferenceSet:
    """A set on the disk.

    Attributes:
        folder: with its files.
        mean: (N, c, h, w) float32 on the CPU: means of the VAE's posterior, scaled.
        std: standard deviations, likewise.
    """

    folder: Path
    mean: Tensor
    std: Tensor


def make_reference_set(
    base: StableDiffusion, prompt: str, cluster: str, output: Path, settings: ReferenceSettings
) -> ReferenceSet:
    """Draw the reference set of a prompt, or read it if it is there.

    Args:
        base: the untouched model.
        prompt: without the identity token.
        cluster: name of its folder.
        output: folder of the job.
        settings: how.

    Raises:
        ValueError: the folder holds a set made otherwise, or no image could be drawn.
    """
    folder = output / FOLDER / cluster
    wanted = _as_written(base, prompt, settings)
    if folder.is_dir():
        _expect_same(folder, wanted)
        return read_reference_set(folder)
    requests = [
        Drawing(
            identity=cluster,
            prompt=prompt,
            seed=seed_of(settings.run_seed, "reference set", prompt, index),
            index=index,
        )
        for index in range(settings.images)
    ]
    drawn = list(draw(base, None, requests, settings.sampling))
    good = [image for image in drawn if image.pixels is not None]
    if not good:
        raise ValueError(
            f"none of the {settings.images} images for '{prompt}' could be drawn by {base.name}: "
            f"{drawn[0].reason if drawn else 'set GENERATION.REFERENCE_SET.IMAGES above 0'}"
        )
    if len(good) < len(drawn):
        reason = next(image.reason for image in drawn if image.reason)
        _log.warning("%s: %d of %d images: %s", folder, len(good), len(drawn), reason)
    mean, std = base.encode_posterior(_stacked(good))
    with whole_folder(folder, output) as partial:
        _write_images(partial, prompt, good)
        save_file({"mean": mean.cpu(), "std": std.cpu()}, partial / "latents.safetensors")
        (partial / "settings.json").write_text(json.dumps(wanted, indent=2) + "\n")
    return read_reference_set(folder)


def is_reference_set(folder: Path) -> bool:
    """Whether a set is in a folder; what is there is whole."""
    return (folder / "settings.json").is_file()


def read_reference_set(folder: Path) -> ReferenceSet:
    """Read a set.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if not is_reference_set(folder):
        raise FileNotFoundError(
            f"no reference set in {folder}; run tools/generate_persons.py reference, or see in "
            f"failed/{FOLDER} why it could not be generated"
        )
    try:
        latents = load_file(folder / "latents.safetensors")
        return ReferenceSet(folder, latents["mean"], latents["std"])
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueError(_damaged(folder / "latents.safetensors", error)) from error


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what a set was made with, its "prompt" among it.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / "settings.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"{path} is damaged ({type(error).__name__}: {error}); remove {path.parent}, and it is "
        "drawn again by the stage reference_sets"
    )


def _as_written(base: StableDiffusion, prompt: str, settings: ReferenceSettings) -> dict[str, Any]:
    """What a set depends on, as JSON has it; the batch size changes no more than rounding."""
    drawing = dataclasses.asdict(settings.sampling)
    del drawing["batch_size"]
    return {
        "model": base.name,
        "dtype": str(base.dtype).removeprefix("torch."),
        "prompt": prompt,
        "images": settings.images,
        "run_seed": settings.run_seed,
        **drawing,
        "size": list(settings.sampling.size),
    }


def _expect_same(folder: Path, wanted: dict[str, Any]) -> None:
    if not is_reference_set(folder):
        raise ValueError(f"{folder} has no settings.json, so it is no reference set; remove it")
    found = read_settings(folder)
    expect_same(
        {key: found.get(key) for key in wanted},
        wanted,
        found=f"the reference set in {folder} was made with other settings",
        advice="remove it, or choose another OUTPUT_DIR",
    )


def _stacked(images: Sequence[Drawn]) -> Tensor:
    """(N, 3, H, W) uint8."""
    return torch.from_numpy(np.stack([image.pixels for image in images])).permute(0, 3, 1, 2)


def _write_images(folder: Path, prompt: str, images: Sequence[Drawn]) -> None:
    files = FileSettings(size=images[0].pixels.shape[:2])

    def write(image: Drawn) -> dict[str, Any]:
        name = f"{image.request.index:04d}.jpg"
        (folder / name).write_bytes(encoded(image.pixels, files))
        return {"file_name": name, "prompt": prompt, "seed": image.request.seed}

    with ThreadPoolExecutor() as pool:  # the device waits meanwhile
        rows = list(pool.map(write, images))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text)
    scale = min(1.0, _GRID_HEIGHT / files.size[0])
    small = tuple(round(side * scale) for side in files.size)
    shown = [fitted(image.pixels, small, "resize") for image in images[: _GRID[0] * _GRID[1]]]
    Image.fromarray(_grid(shown, _GRID[1])).save(folder / "grid.png")


def _grid(images: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Equally large images in rows, with a gap of 2 pixels; what stays empty is white."""
    height, width = (side + 2 for side in images[0].shape[:2])
    rows = -(-len(images) // columns)
    sheet = np.full((rows * height, min(columns, len(images)) * width, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height - 2, left : left + width - 2] = image
    return sheet
