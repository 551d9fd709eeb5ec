"""Rules that snow, frost, fog and spatter share."""

import numpy as np
import pytest

from .modes import fast, noise_image, reference


@pytest.mark.parametrize("name", ["snow", "frost", "fog", "spatter"])
@pytest.mark.parametrize("shape", [(32, 32), (33, 101), (257, 32), (64, 1024)])
def test_any_size_and_layout(name, shape):
    image = noise_image(*shape)
    image.flags.writeable = False
    before = image.copy()
    for severity in (1, 5):
        for mode in (fast, reference):
            weathered = mode(image, name, severity)
            assert weathered.shape == image.shape
            assert weathered.dtype == np.uint8
            np.testing.assert_array_equal(image, before)
            turned = np.asfortranarray(image)
            np.testing.assert_array_equal(mode(turned, name, severity), weathered)
