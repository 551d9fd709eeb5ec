"""Images and calls that the tests of single corruptions share."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import corrupt

SEVERITIES = (1, 2, 3, 4, 5)
MODES = [True, False]
mode = pytest.mark.parametrize("reference", MODES, ids=["reference", "fast"])
each_severity = pytest.mark.parametrize("severity", SEVERITIES)


def noise_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fast(image, name, severity, seed=0):
    return corrupt(image, name, severity, np.random.default_rng(seed))


def reference(image, name, severity, seed=0):
    return corrupt(image, name, severity, np.random.RandomState(seed), reference=True)


def moments_agree(name, severity, image, samples):
    """Compare mean and deviation of corrupted images in both modes; within 4.5 standard errors."""
    values = []
    for mode in (reference, fast):
        pictures = [mode(image, name, severity, seed) for seed in range(samples)]
        values.append([(picture.mean(), picture.std()) for picture in pictures])
    theirs, ours = np.array(values)
    error = np.sqrt((theirs.var(axis=0) + ours.var(axis=0)) / samples)
    assert (np.abs(theirs.mean(axis=0) - ours.mean(axis=0)) < 4.5 * error + 1e-9).all()


def agrees_after_truncation(image, exact):
    """Equal to the truncated exact values, but where these lie within 0.01 of a whole number."""
    certain = np.abs(exact - np.round(exact)) > 0.01
    assert np.abs(image - exact).max() < 1.01
    np.testing.assert_array_equal(image[certain], np.floor(exact[certain]))


def run(image, name, severity, reference=False, seed=0):
    rng = np.random.RandomState(seed) if reference else np.random.default_rng(seed)
    return corrupt(image, name, severity, rng, reference=reference)


def even(*colour):
    return np.broadcast_to(np.array(colour, np.uint8), (32, 33, 3)).copy()
