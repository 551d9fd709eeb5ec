"""Frosted glass against the slow loop of its rule: what is copied where, in which order."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu.glass_blur import GLASS_BLUR, copy_near_pixels


def noise_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slow_copies(image, reach, passes, rng):
    """The rule as it is described, with one sample of (x, y) per pixel."""
    copied = image.copy()
    height, width = image.shape[:2]
    for _ in range(passes):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                x, y = rng.randint(-reach, reach, size=2)
                copied[row, column] = copied[row + y, column + x]
    return copied


@pytest.mark.parametrize(("reach", "passes"), [glass[1:] for glass in GLASS_BLUR])
def test_glass_copies_as_the_slow_loop_and_leaves_the_same_stream(reach, passes):
    image = noise_image(37, 32)
    ours = np.random.RandomState(4)
    theirs = np.random.RandomState(4)
    copied = copy_near_pixels(image, reach, passes, ours)
    np.testing.assert_array_equal(copied, slow_copies(image, reach, passes, theirs))
    assert ours.randint(2**31) == theirs.randint(2**31)


def labelled(height, width):
    """Each pixel holds its own row and column."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return np.stack([rows, columns, rows * 0], axis=-1)


@pytest.mark.parametrize("rng", [np.random.RandomState, np.random.default_rng])
def test_glass_copies_and_does_not_swap(rng):
    image = labelled(128, 128)
    copied = copy_near_pixels(image, 2, 3, rng(0))
    survivors = np.unique(copied.reshape(-1, 3), axis=0).shape[0] / 128**2
    assert survivors == pytest.approx(0.293, abs=0.01)  # a swap keeps all
    np.testing.assert_array_equal(copied[:3], image[:3])
    np.testing.assert_array_equal(copied[:, :3], image[:, :3])
    np.testing.assert_array_equal(copied[-1:], image[-1:])
    np.testing.assert_array_equal(copied[:, -1:], image[:, -1:])


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_fast_glass_moves_pixels_as_far_as_reference(reach):
    image = labelled(200, 200).astype(int)
    moments = []
    for rng in (np.random.RandomState(0), np.random.default_rng(0)):
        copied = copy_near_pixels(labelled(200, 200), reach, 1, rng).astype(int)
        moved = (copied - image)[reach + 1 : -reach, reach + 1 : -reach, :2].reshape(-1, 2)
        moments.append(np.concatenate([moved.mean(axis=0), moved.std(axis=0)]))
    np.testing.assert_allclose(moments[0], moments[1], atol=0.06 * reach)
