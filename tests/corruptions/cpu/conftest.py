"""Images to corrupt, and the reference."""

import cv2
import numpy as np
import pytest

from fastreid_ext.compat.imagecorruptions import reference


def textured_figure(height, width, seed):
    """A textured figure with even patches of black, white and a strong colour."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 2)
    image = 120 + 45 * texture / texture.std() + np.linspace(-50, 50, height)[:, None, None]
    image[height // 4 :, width // 4 : width // 2] = rng.uniform(0, 255, 3)
    image[: height // 6, width // 2 :] = 255
    image[-height // 6 :, : width // 3] = 0
    return np.clip(image, 0, 255).astype(np.uint8)


def texture_image(height, width, seed):
    """No two neighbours are equal, as in a real image: no result is a whole level by design."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 1.5)
    image = 127 + 50 * texture / texture.std() + rng.normal(scale=3, size=texture.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def figure():
    """A function (height, width, seed=0) -> uint8 (height, width, 3)."""
    return lambda height, width, seed=0: textured_figure(height, width, seed)


@pytest.fixture(scope="session")
def texture():
    """A function (height, width, seed=0) -> uint8 (height, width, 3)."""
    return lambda height, width, seed=0: texture_image(height, width, seed)


@pytest.fixture(scope="session")
def expected():
    """A function (image, name, severity, rng) -> the reference's image; moves ``rng`` on."""
    package = reference()
    behind_seed = np.random.mtrand._rand  # what np.random.seed and the reference use

    def corrupted(image, name, severity, rng):
        before = behind_seed.get_state()
        behind_seed.set_state(rng.get_state())
        result = package.corrupt(image, severity, name)
        rng.set_state(behind_seed.get_state())
        behind_seed.set_state(before)
        return result

    return corrupted
