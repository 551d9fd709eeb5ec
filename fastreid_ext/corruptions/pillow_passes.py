"""Order in which Pillow resizes the two sides of an image, which decides what is rounded first."""

import functools

import numpy as np
from PIL import Image


def rows_go_first(rows_less: int, columns_less: int) -> bool:
    """Tell whether Pillow's ``resize`` changes the number of rows before that of columns.

    From Pillow 13 on it does where an image loses more than twice as many rows as columns; before,
    it never does.

    Args:
        rows_less: rows of the image less rows of the result.
        columns_less: columns of the image less columns of the result.
    """
    return rows_less > max(0, 2 * columns_less) and _depends_on_the_size()


@functools.cache
def _depends_on_the_size() -> bool:
    noise = np.random.default_rng(0).integers(0, 256, (40, 10, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    way = Image.Resampling.BICUBIC
    rows_first = image.resize((10, 20), way).resize((20, 20), way)
    return np.array_equal(image.resize((20, 20), way), rows_first)
