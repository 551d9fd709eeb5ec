import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data.transforms.pillow_bicubic import bicubic_taps, resize_and_pick

# Height and width of the image, then of the result.
SIZES = [
    (128, 64, 256, 128),
    (256, 128, 256, 128),
    (128, 64, 384, 128),
    (100, 37, 256, 128),
    (511, 203, 256, 128),  # Pillow 13 takes the rows first
    (300, 100, 256, 128),  # and here
    (50, 40, 30, 30),  # but not here
    (51, 40, 30, 30),
    (2000, 7, 256, 128),
    (40, 900, 256, 128),
    (256, 100, 256, 128),
    (300, 128, 256, 128),
    (3, 2, 16, 8),
    (1, 1, 8, 8),
    (9, 7, 1, 1),
    (2, 3, 3, 2),
]


def picture(height, width, seed=0):
    """Build noise below black and white, where sums leave the range of bytes."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[: height // 2] = (image[: height // 2] > 127) * 255
    return image


def assert_is_pillows(height, width, new_height, new_width, seed=0):
    image = picture(height, width, seed)
    result = resize_and_pick(
        image, (new_height, new_width), np.arange(new_height), np.arange(new_width)
    )
    expected = Image.fromarray(image).resize((new_width, new_height), Image.BICUBIC)
    assert np.array_equal(result, np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_pillow_bicubic_equals_pillow(sizes):
    assert_is_pillows(*sizes)


def test_pillow_bicubic_equals_pillow_for_random_sizes():
    rng = np.random.default_rng(0)
    for seed in range(200):
        sizes = np.exp(rng.uniform(0, np.log(150), 4)).astype(int)
        assert_is_pillows(*sizes.tolist(), seed)


def test_pillow_bicubic_of_some_rows_and_columns():
    image = picture(40, 20)
    whole = resize_and_pick(image, (60, 30), np.arange(60), np.arange(30))
    rows = np.array([5, -1, 59, 0, 0])
    columns = np.array([29, 3, -1, -1])
    picked = resize_and_pick(image, (60, 30), rows, columns)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            expected = whole[:, row, column] if min(row, column) >= 0 else 0
            assert (picked[:, y, x] == expected).all()


def test_pillow_bicubic_taps_sum_to_one():
    first, weights = bicubic_taps(64, 128)
    assert weights.shape == (128, 4)
    assert abs(weights.sum(axis=1) - 2**22).max() <= 4
    assert (first >= 0).all()
    assert (first + 4 <= 64).all()
    # Half a pixel off: -9/128, 111/128, 29/128, -3/128 of Keys' cubic with a = -0.5.
    assert weights[65].tolist() == [n * 2**15 for n in (-9, 111, 29, -3)]
    assert bicubic_taps(64, 64) is None
