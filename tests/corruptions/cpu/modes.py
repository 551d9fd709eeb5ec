"""Images and calls that the tests of single corruptions share."""

import numpy as np

from fastreid_ext.corruptions.cpu import corrupt

SEVERITIES = (1, 2, 3, 4, 5)


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
