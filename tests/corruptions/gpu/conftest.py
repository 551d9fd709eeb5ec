import cv2
import numpy as np
import pytest
import torch

from fastreid_ext.corruptions.gpu.random_numbers import Bucket, keys_of


def textured_photo(height, width, seed):
    """Structure of every scale, like a real image, with flat, black and white parts."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for scale in (1, 2, 4, 8, 16, 32):
        size = max(2, height // scale), max(2, width // scale), 3
        coarse = rng.normal(size=size)
        image += scale * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = (image - image.min()) / (image.max() - image.min())
    photo = np.clip(image * 290 - 15, 0, 255).astype(np.uint8)
    photo[:5, :7] = 0
    photo[-6:, :9] = 255
    photo[10:20, 10:20] = 128
    return photo


@pytest.fixture(scope="session")
def photo():
    """(height, width, seed=0) -> (H, W, 3) uint8."""
    return lambda height, width, seed=0: textured_photo(height, width, seed)


@pytest.fixture(scope="session")
def to_batch():
    """Arrays (H, W, 3) -> tensor (B, 3, H, W)."""
    return lambda *images: torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())


@pytest.fixture(scope="session")
def to_array():
    """Tensor (1, 3, H, W), perhaps float -> array (H, W, 3) of int64, truncated as uint8 is."""
    return lambda image: image[0].clamp(0, 255).to(torch.uint8).permute(1, 2, 0).long().numpy()


@pytest.fixture(scope="session")
def bucket_of():
    """(severities, seeds) -> Bucket on the CPU."""

    def bucket(severities, seeds=None):
        levels = np.array(severities) - 1
        seeds = np.zeros(len(levels), np.int64) if seeds is None else np.array(seeds)
        keys = keys_of(seeds, np.zeros(len(levels), np.int64))
        return Bucket(levels, keys, torch.from_numpy(levels), torch.from_numpy(keys))

    return bucket


@pytest.fixture(scope="session")
def reference():
    """(image, name, severity, seed) -> int64 image of the repaired imagecorruptions."""
    from fastreid_ext.compat.imagecorruptions import reference as repaired

    def corrupted(image, name, severity, seed=0):
        state = np.random.get_state()  # noqa: NPY002  the reference samples from it
        np.random.seed(seed)  # noqa: NPY002
        try:
            return repaired().corrupt(image, severity, name).astype(np.int64)
        finally:
            np.random.set_state(state)  # noqa: NPY002

    return corrupted
