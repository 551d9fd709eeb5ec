"""Elastic transform against scipy and its formula."""

import numpy as np
import pytest
from scipy import ndimage

from fastreid_ext.corruptions.cpu.elastic_transform import (
    ELASTIC_STRENGTHS,
    _kernel,
    _smooth,
    _taken,
)

from .modes import each_severity, even, mode, run


@pytest.mark.parametrize("size", [(40, 33), (33, 70)], ids=str)
@pytest.mark.parametrize("reach", [0.0, 0.7, 3.0, 90.0])
def test_a_warp_reads_where_scipy_does(size, reach, texture):
    """Also from beyond the border, which is a mirror that may be met several times."""
    rng = np.random.default_rng(0)
    image = texture(*size)
    down, across = rng.uniform(-reach, reach, (2, *size)).astype(np.float32)
    y, x = np.mgrid[: size[0], : size[1]]
    wanted = [
        ndimage.map_coordinates(
            image[..., channel].astype(float), (y + down, x + across), order=1, mode="reflect"
        )
        for channel in range(3)
    ]
    difference = _taken(image, down, across) - np.stack(wanted, axis=-1)
    assert difference.max() < 0.01
    assert difference.min() > -1.01


@pytest.mark.parametrize("size", [(32, 32), (33, 150), (256, 128)], ids=str)
def test_displacements_are_smoothed_as_scipy_does(size):
    noise = np.random.default_rng(0).random(size, dtype=np.float32)
    sigma = [0.01 * side for side in size]
    wanted = ndimage.gaussian_filter(
        (noise.astype(float) - 0.5) * 6, sigma, mode="reflect", truncate=3
    )
    np.testing.assert_allclose(_smooth(noise, 3.0), wanted, atol=1e-5)
    assert _kernel(size[0]).sum() == pytest.approx(1)


@mode
@each_severity
def test_an_elastic_warp_moves_pixels_as_far_as_its_formula(severity, reference):
    """An image of columns numbered by grey level tells how far each pixel was moved."""
    height, width = 96, 200
    ramp = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (height, width, 3))
    moves = [
        run(ramp, "elastic_transform", severity, reference, seed)[:, 40:-40, 0] + 0.5
        for seed in range(20)
    ]
    found = np.std(np.stack(moves) - np.arange(40, width - 40))
    noise = np.random.default_rng(0).uniform(-0.005 * height, 0.005 * height, (20, height, width))
    smooth = [ndimage.gaussian_filter(plane, (0.96, 2.0), truncate=3) for plane in noise]
    wanted = ELASTIC_STRENGTHS[severity - 1] * np.std(smooth)
    rounding = 1 / 12  # of the grey level that is read
    assert found == pytest.approx(np.sqrt(wanted**2 + rounding), rel=0.05)


@mode
def test_an_elastic_warp_leaves_an_even_image(reference):
    for level in (0, 1, 99, 254, 255):
        image = even(level, level, level)
        np.testing.assert_array_equal(run(image, "elastic_transform", 5, reference), image)
