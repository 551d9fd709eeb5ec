"""Rain: where drops fall, what one looks like, how dark it gets; albumentations' own numbers."""

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import corrupt
from fastreid_ext.corruptions.cpu.rain import RAIN, apply_drops, sample_drops

SEVERITIES = (1, 2, 3, 4, 5)
NO_DROPS = np.empty((0, 2), np.int64)
GENERATORS = (np.random.RandomState, np.random.default_rng)


@pytest.mark.parametrize(("severity", "count"), [(1, 42), (2, 54), (3, 54), (4, 65), (5, 65)])
@pytest.mark.parametrize("generator", GENERATORS)
def test_drops_of_a_256_by_128_image(severity, count, generator):
    """32,768 pixels / 770, 600 or 500, rounded down."""
    assert sample_drops(256, 128, severity, generator(0)).shape == (count, 2)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_drops_begin_where_they_fit(severity, generator):
    height, width = 1000, 50
    length = RAIN[severity - 1][1]
    drops = [sample_drops(height, width, severity, generator(seed)) for seed in range(400)]
    columns, rows = np.concatenate(drops).T
    assert rows.min() == 0
    assert rows.max() == height - length
    assert rows.mean() == pytest.approx((height - length) / 2, abs=10)
    # A slant from -9 to 9, cut towards 0: to the left where negative, less at the right else.
    assert columns.min() == -9
    assert columns.max() == width
    to_the_left = sum(drop[:, 0].min() < 0 for drop in drops)
    assert 130 < to_the_left < 215  # 45 % of slants are below 0, seldom without such a drop


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_drop_goes_down_by_its_length_and_right_by_10(severity):
    length = RAIN[severity - 1][1]
    reach = 2 + severity
    image = np.full((140, 80, 3), 100, np.uint8)
    dry = apply_drops(image, severity, NO_DROPS)
    wet = apply_drops(image, severity, np.array([[30, 40]]))
    rows, columns = np.nonzero((wet != dry).any(axis=-1))
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (
        length + 1 + reach - 1,
        11 + reach - 1,
    )
    assert 40 - reach < rows.min() <= 40
    assert 30 - reach < columns.min() <= 30
    assert (wet.astype(int) - dry)[rows, columns].min() > 0  # 200 is lighter than 100


@pytest.mark.parametrize(("severity", "grey"), [(1, 174), (2, 161), (3, 149), (4, 136), (5, 123)])
def test_brightness_falls_by_a_tenth_to_three_tenths(severity, grey):
    """200 - 255 * (0.05 + 0.05 * severity), decimals cut off."""
    image = np.full((70, 40, 3), 200, np.uint8)
    np.testing.assert_array_equal(apply_drops(image, severity, NO_DROPS), grey)
    assert apply_drops(np.zeros((70, 40, 3), np.uint8), severity, NO_DROPS).max() == 0


@pytest.mark.parametrize(
    ("severity", "sums", "pixel"),
    [
        (1, [628954, 798906, 273834], [97, 123, 37]),
        (2, [566639, 739647, 248007], [85, 112, 22]),
        (3, [502647, 653661, 208621], [72, 98, 12]),
        (4, [448418, 600344, 177677], [73, 95, 21]),
        (5, [384017, 513388, 137746], [60, 80, 6]),
    ],
)
def test_given_the_drops_it_is_albumentations_rain(severity, sums, pixel):
    """Recorded from the functions of albumentations 0.5.2 on OpenCV 4.14, on this very input.

    ``add_rain(image, 10, length, 1, (200, 200, 200), 2 + severity, 1, drops)``, then
    ``_brightness_contrast_adjust_uint(rain, 1, -(0.05 + 0.05 * severity), True)``; the 10 is the
    default with which its ``RandomRain`` always calls the first.
    """
    y, x = np.mgrid[:90, :70]
    image = np.stack([y * 2 + x, 255 - x * 3, (y * x) // 25], axis=-1).astype(np.uint8)
    length = RAIN[severity - 1][1]
    drops = np.array([(5 * i - 10, (7 * i) % (90 - length + 1)) for i in range(15)])
    rained = apply_drops(image, severity, drops)
    assert rained.sum(axis=(0, 1)).tolist() == sums
    assert rained[45, 35].tolist() == pixel


@pytest.mark.parametrize("height", [32, 45, 60])
def test_a_low_image_is_rained_on_at_65_rows(height):
    """A drop of 60 rows would not fit; drops are those of the enlarged image."""
    image = np.full((height, 40, 3), 150, np.uint8)
    rained = corrupt(image, "rain", 5, np.random.default_rng(0))
    assert rained.shape == image.shape
    assert (rained > 150 - 76).any()  # a drop
    assert (rained == 73).any()  # 150 - 76.5, cut off
    drops = sample_drops(65, int(40 * 65 / height), 5, np.random.default_rng(0))
    assert len(drops) == 65 * int(40 * 65 / height) // 500


def test_the_modes_sample_the_same_rain_and_repeat():
    image = np.full((256, 128, 3), 120, np.uint8)
    for severity in SEVERITIES:
        means = {}
        for reference, generator in ((True, np.random.RandomState), (False, np.random.default_rng)):
            rained = [
                corrupt(image, "rain", severity, generator(seed), reference=reference)
                for seed in range(30)
            ]
            means[reference] = np.mean([picture.mean() for picture in rained])
            again = corrupt(image, "rain", severity, generator(0), reference=reference)
            np.testing.assert_array_equal(rained[0], again)
        assert means[True] == pytest.approx(means[False], abs=0.3)
