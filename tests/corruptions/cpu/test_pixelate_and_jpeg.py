"""Pixelation and JPEG compression against Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.corruptions.cpu.jpeg_compression import JPEG_QUALITIES
from fastreid_ext.corruptions.cpu.pixelate import PIXELATE_SIDES

from .modes import each_severity, mode, run


@mode
@each_severity
@pytest.mark.parametrize("shape", [(32, 32), (57, 43), (256, 128)], ids=str)
def test_pixelate_and_jpeg_are_pillows(severity, reference, shape, texture):
    image = texture(*shape)
    size = tuple(int(side * PIXELATE_SIDES[severity - 1]) for side in shape[::-1])
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    large = small.resize(shape[::-1], Image.Resampling.NEAREST)
    np.testing.assert_array_equal(run(image, "pixelate", severity, reference), np.array(large))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITIES[severity - 1])
    np.testing.assert_array_equal(
        run(image, "jpeg_compression", severity, reference), np.array(Image.open(buffer))
    )
