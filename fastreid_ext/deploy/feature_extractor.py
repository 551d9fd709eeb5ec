"""Features of any images, read and resized exactly as in the evaluation.

Letters: N images, D feature dimension, H x W pixels.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.data.transforms import build_transforms
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.data.image_files import SUFFIXES, images_below
from fastreid_ext.deploy.features_file import ImageFeatures
from fastreid_ext.deploy.load import Config, description, ready_config, ready_model
from fastreid_ext.evaluation.features import batch_features

AnyImage = str | Path | NDArray[np.uint8]
Batch = tuple[Tensor | None, list[int], dict[int, str]]


class FeatureExtractor:
    """A trained model that turns images into features; needs no data set.

    Example::

        extract = FeatureExtractor("configs/demo.yml", "demo/train/model_final.pth", device="cpu")
        features = extract(["a.jpg", "b.jpg"])  # (2, D) float32
        result = extract.folder("crops")

    Args:
        config: a YAML file (a recipe, or the ``config.yaml`` of a run) or a configuration.
        weights: a checkpoint of that configuration.
        device: "cpu", "cuda", "cuda:1"; None: MODEL.DEVICE.
        flip: average with the features of the mirrored images; None: TEST.FLIP.
        overrides: KEY VALUE pairs, as in ``load_config``.

    Raises:
        FileNotFoundError: configuration or checkpoint do not exist.
        ValueError: a mistake in the configuration, or a checkpoint of another model.
    """

    def __init__(
        self,
        config: Config,
        weights: str | Path,
        *,
        device: str | None = None,
        flip: bool | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        self.cfg = ready_config(config, device=device, overrides=overrides)
        self.flip = self.cfg.TEST.FLIP.ENABLED if flip is None else flip
        self.model = ready_model(self.cfg, weights)
        self.transform = build_transforms(self.cfg, is_train=False)
        self.batch_size = max(1, self.cfg.TEST.IMS_PER_BATCH)
        self.metadata = description(self.cfg, config, weights)
        self.metadata["flip"] = "averaged with the mirrored image" if self.flip else "no"

    def __call__(self, images: Sequence[AnyImage]) -> NDArray[np.float32]:
        """Return features (N, D) of image files or of arrays (H, W, 3) uint8 RGB in [0, 255].

        Raises:
            ValueError: no image, or an array of another type or shape.
            OSError: a file that cannot be read.
        """
        if isinstance(images, str | Path | np.ndarray) or not len(images):
            raise ValueError(
                "expected a list of at least one path or array (H, W, 3), got "
                f"{'an empty one' if not isinstance(images, str | Path | np.ndarray) else 'one'}"
                "; write extract([image])"
            )
        features = []
        for start in range(0, len(images), self.batch_size):
            part = images[start : start + self.batch_size]
            batch = torch.stack([self.transform(as_image(image)) for image in part])
            features.append(self._features(batch))
        return np.concatenate(features)

    def folder(
        self,
        folder: str | Path,
        *,
        skip_unreadable: bool = False,
        workers: int | None = None,
        progress: bool = False,
    ) -> ImageFeatures:
        """Return the features of all images below a folder, in the order of their paths.

        Args:
            folder: searched with its subfolders; hidden files are left out.
            skip_unreadable: leave damaged images out and name them in the result.
            workers: number of loader processes; None takes TEST.NUM_WORKERS.
            progress: whether to show a progress bar.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: no image in it, none that can be read, or features of NaN or infinity.
            OSError: an image that cannot be read, unless ``skip_unreadable``.
        """
        folder = Path(folder).expanduser()
        paths = image_files(folder)
        features = []
        kept = []
        unreadable = {}
        with tqdm(total=len(paths), unit="image", disable=not progress) as bar:
            for images, rows, problems in self._loader(folder, paths, workers):
                unreadable |= {paths[row]: reason for row, reason in problems.items()}
                if problems and not skip_unreadable:
                    first = next(iter(unreadable))
                    raise OSError(
                        f"{unreadable[first]} ({len(unreadable)} in this batch); restore it, or "
                        "pass --skip-unreadable to leave such images out"
                    )
                if images is not None:
                    features.append(self._features(images))
                kept.extend(rows)
                bar.update(len(rows) + len(problems))
        if not features:
            raise ValueError(f"expected readable images in {folder}, got {len(unreadable)} damaged")
        kept_paths = [paths[row] for row in kept]
        return ImageFeatures(np.concatenate(features), kept_paths, self.metadata, unreadable)

    @torch.no_grad()
    def _features(self, images: Tensor) -> NDArray[np.float32]:
        batch = {"images": images.to(self.cfg.MODEL.DEVICE, non_blocking=True)}
        features = batch_features(self.model, batch, flip=self.flip).cpu().numpy()
        if bad := int((~np.isfinite(features).all(axis=1)).sum()):
            raise ValueError(
                f"expected finite features, got NaN or infinity for {bad} of {len(features)} "
                "images; did training diverge? Choose another checkpoint"
            )
        return features

    def _loader(self, folder: Path, paths: list[str], workers: int | None) -> Iterable[Batch]:
        workers = self.cfg.TEST.NUM_WORKERS if workers is None else workers
        return DataLoader(
            _Files(folder, paths, self.transform),
            batch_size=self.batch_size,
            num_workers=min(workers, -(-len(paths) // self.batch_size)),
            collate_fn=_join,
            pin_memory=self.cfg.MODEL.DEVICE.startswith("cuda"),
        )


def image_files(folder: Path) -> list[str]:
    """Return the images below a folder, relative to it, sorted.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder}; give a folder of images")
    found = [os.path.relpath(path, folder) for path in images_below(folder)]
    if not found:
        raise ValueError(
            f"expected images ({', '.join(SUFFIXES)}) in {folder} or below it, got none"
        )
    return found


class _Files(Dataset):
    """Images of a folder; a damaged one is a reason instead of a tensor."""

    def __init__(self, folder: Path, paths: list[str], transform: Any) -> None:
        self.folder = folder
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[int, Tensor | str]:
        try:
            return row, self.transform(read_rgb(self.folder / self.paths[row]))
        except OSError as error:
            return row, str(error).split("; run tools/check_data.py")[0]


def _join(samples: list[tuple[int, Tensor | str]]) -> Batch:
    """Return images (B, 3, H, W) or None, their rows, and reasons by row."""
    readable = [(row, image) for row, image in samples if isinstance(image, Tensor)]
    problems = {row: reason for row, reason in samples if isinstance(reason, str)}
    images = torch.stack([image for _, image in readable]) if readable else None
    return images, [row for row, _ in readable], problems


def as_image(image: AnyImage) -> Image.Image:
    """Return a file, or an array (H, W, 3) uint8 RGB in [0, 255], as Pillow's image.

    Raises:
        ValueError: an array of another type or shape.
        OSError: a file that cannot be read.
    """
    if isinstance(image, str | Path):
        return read_rgb(image)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        got = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(
            f"expected a path or an array (H, W, 3) uint8 RGB in [0, 255], got {got}; an image "
            "read by OpenCV is BGR: write image[:, :, ::-1]"
        )
    return Image.fromarray(np.ascontiguousarray(image))
