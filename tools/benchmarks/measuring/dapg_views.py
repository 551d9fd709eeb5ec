"""Two loaders of DAPG's four views: ours, and Pillow, torchvision and imagecorruptions."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from fastreid.config import CfgNode
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from fastreid_ext.compat.imagecorruptions import reference
from fastreid_ext.config import load_config
from fastreid_ext.corruptions.cpu import COMMON_CORRUPTIONS, corrupt
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.samplers import SampledIndex
from fastreid_ext.data.transforms import build_transforms

RECIPE = "projects/DAPG/configs/LUPerson/dapg_stage1_R50.yml"
_SEVERITIES = 5


def stage_1(
    where: str, size: tuple[int, int], overrides: Sequence[object] = (), is_amp: bool = False
) -> CfgNode:
    """Load the recipe of stage 1 on the CPU, without data.

    Args:
        where: step that corrupts, "resized" for the loader or "device" for the batch.
        size: height and width of the views.
        overrides: KEY VALUE pairs that come last.
        is_amp: whether to use mixed precision, which needs a GPU.
    """
    rows = str(list(size))
    fixed = ["INPUT.CORRUPTION.WHERE", where, "DATASETS.FOLDER", "x.txt", "DATASETS.TESTS", "()"]
    fixed += ["INPUT.CROP.SIZE", rows, "INPUT.SIZE_TRAIN", rows, "MODEL.DEVICE", "cpu"]
    fixed += ["SOLVER.AMP.ENABLED", str(is_amp)]
    return load_config(RECIPE, [*fixed, *map(str, overrides)])


def our_loader(files: Sequence[str], size: tuple[int, int], *, where: str) -> Callable[[], list]:
    """Build a function that loads the four views of each file, with new samples in each call.

    Args:
        files: paths of image files of any size.
        size: height and width of the views.
        where: step that corrupts, "resized" for the loader or "device" for the batch.
    """
    cfg = stage_1(where, size)
    items = [(file, f"p{number}", "c1") for number, file in enumerate(files)]
    transform = build_transforms(cfg, is_train=True)
    dataset = PersonDataset(items, transform, relabel=True, read=read_pixels)
    for name in COMMON_CORRUPTIONS:  # compiles, and fills tables
        corrupt(np.zeros((*size, 3), np.uint8), name, _SEVERITIES, np.random.default_rng(0))
    calls = iter(range(10**9))

    def run() -> list:
        first = next(calls) * len(files)
        return [
            dataset[SampledIndex(number, seed=0, position=first + number)]
            for number in range(len(files))
        ]

    return run


def reference_loader(files: Sequence[str], size: tuple[int, int]) -> Callable[[], list]:
    """Build the same function from Pillow, torchvision and imagecorruptions."""
    cfg = stage_1("resized", size)
    crop = cfg.INPUT.CROP
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                size,
                scale=tuple(crop.SCALE),
                ratio=tuple(crop.RATIO),
                interpolation=transforms.InterpolationMode.BICUBIC,
            ),
            transforms.RandomHorizontalFlip(cfg.INPUT.FLIP.PROB),
            transforms.RandomGrayscale(cfg.INPUT.GRAYSCALE.PROB),
        ]
    )
    rng = np.random.default_rng(0)
    return lambda: [reference_views(file, view, rng) for file in files]


def reference_views(
    file: str, view: Callable[[Image.Image], Image.Image], rng: np.random.Generator
) -> torch.Tensor:
    """Make q, k1, k2 and k3 of a file, (4, 3, H, W) uint8."""
    old = reference()
    image = Image.open(file).convert("RGB")
    clean = [np.asarray(view(image)) for _ in range(3)]
    kinds = [COMMON_CORRUPTIONS[kind] for kind in rng.permutation(len(COMMON_CORRUPTIONS))[:3]]
    noisy: list[NDArray[np.uint8]] = []
    for length, pixels in enumerate(clean, 1):
        for kind in kinds[:length]:
            pixels = old.corrupt(pixels, int(rng.integers(1, 1 + _SEVERITIES)), kind)
        noisy.append(pixels)
    weights = rng.dirichlet([1, 1, 1])
    share = rng.beta(1, 1)
    mixed = sum(weight * one.astype(np.float32) for weight, one in zip(weights, noisy, strict=True))
    mixed = np.round((1 - share) * clean[0] + share * mixed).astype(np.uint8)
    views = [np.ascontiguousarray(one.transpose(2, 0, 1)) for one in (*noisy, mixed)]
    return torch.from_numpy(np.stack(views))
