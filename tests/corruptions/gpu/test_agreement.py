"""Each operation against the reference: the table in the docstring of the package, row by row.

Where the reference is random, its own random numbers are sampled again in its order and handed to
the part of our function that applies them.
"""

import math

import numpy as np
import pytest
import torch

from fastreid_ext.corruptions.cpu.noise import GAUSSIAN_SCALES, PHOTONS_OF_WHITE, SPECKLE_SCALES
from fastreid_ext.corruptions.gpu import corrupt_batch
from fastreid_ext.corruptions.gpu.elastic_transform import displace
from fastreid_ext.corruptions.gpu.fog import add_fog
from fastreid_ext.corruptions.gpu.frost import add_frost, texture_bank
from fastreid_ext.corruptions.gpu.glass_blur import LARGEST_OFFSET, PASSES, move_pixels
from fastreid_ext.corruptions.gpu.motion_blur import blur_along
from fastreid_ext.corruptions.gpu.noise import alias_table
from fastreid_ext.corruptions.gpu.snow import (
    FLAKE_MEAN,
    FLAKE_SIGMA,
    FLAKE_ZOOM,
    falling_flakes,
    noise_size,
    snow_on,
)

SIZES = [(256, 128), (67, 45), (32, 32), (33, 129)]
SEVERITIES = (1, 2, 3, 4, 5)


def assert_agrees(got, wanted, share, largest=1):
    difference = np.abs(got - wanted)
    assert difference.max() <= largest
    assert (difference > 0).mean() <= share


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("contrast", 0),
        ("pixelate", 0),
        ("gaussian_blur", 0.003),
        ("zoom_blur", 0.003),
        ("defocus_blur", 0.1),
        ("brightness", 0.08),
        ("saturate", 0.2),
    ],
)
def test_deterministic_ones(name, share, size, photo, to_batch, to_array, reference):
    image = photo(*size)
    for severity in SEVERITIES:
        got = to_array(corrupt_batch(to_batch(image), [name], [severity], [0]))
        assert_agrees(got, reference(image, name, severity), share)


@pytest.mark.parametrize("size", [(384, 128), (257, 128), (128, 256)], ids=str)
def test_pixelate_takes_the_sides_in_pillow_s_order(size, photo, to_batch, reference):
    """Pillow 13: rows first for all severities, for severity 5 alone, for none."""
    image = photo(*size)
    got = corrupt_batch(to_batch(image).repeat(5, 1, 1, 1), ["pixelate"] * 5, SEVERITIES, [0] * 5)
    for severity in SEVERITIES:
        wanted = reference(image, "pixelate", severity)
        assert (got[severity - 1].permute(1, 2, 0).numpy() == wanted).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_jpeg_compression(size, photo, to_batch, to_array, reference):
    image = photo(*size)
    for severity in SEVERITIES:
        got = to_array(corrupt_batch(to_batch(image), ["jpeg_compression"], [severity], [0]))
        wanted = reference(image, "jpeg_compression", severity)
        assert_agrees(got, wanted, share=0.15, largest=60)
        assert np.abs(got - wanted).mean() < 0.6


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_glass_blur_by_the_offsets_of_the_reference(
    size, photo, to_batch, to_array, reference, bucket_of
):
    image = photo(*size)
    for severity in SEVERITIES:
        offsets = offsets_of_the_reference(*size, severity, np.random.RandomState(5))
        values = move_pixels(to_batch(image), bucket_of([severity]).levels, offsets)
        assert_agrees(to_array(values), reference(image, "glass_blur", severity, 5), 0.03)


def offsets_of_the_reference(height, width, severity, rng):
    largest = LARGEST_OFFSET[severity - 1]
    passes = PASSES[severity - 1]
    offsets = np.zeros((passes, height, width, 2), np.int64)
    rows = height - 2 * largest
    columns = width - 2 * largest
    sampled = rng.randint(-largest, largest, size=(passes, rows, columns, 2))
    # From the bottom right to the top left; the column is sampled before the row.
    inner = np.s_[:, largest + 1 : height - largest + 1, largest + 1 : width - largest + 1]
    offsets[inner] = sampled[:, ::-1, ::-1, ::-1]
    return torch.from_numpy(offsets.reshape(1, passes, -1, 2))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_motion_blur_by_the_angle_of_the_reference(size, photo, to_batch, to_array, reference):
    image = photo(*size)
    for severity in SEVERITIES:
        for seed in range(2):
            angle = np.random.RandomState(seed).uniform(-45, 45)
            values = blur_along(to_batch(image), np.array([severity - 1]), np.array([angle]))
            wanted = reference(image, "motion_blur", severity, seed)
            # Over a flat part both add up to a whole number, which the reference may miss from
            # below by the last bit of its weights, as its CPU's exp rounds them.
            near_whole = (values - values.round()).abs() < 6e-4
            differs = to_array(values) != wanted
            assert_agrees(to_array(values), wanted, 1)
            assert to_array(near_whole)[differs].all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_snow_by_the_numbers_of_the_reference(
    size, photo, to_batch, to_array, reference, bucket_of
):
    image = photo(*size)
    for severity in SEVERITIES:
        rng = np.random.RandomState(3)
        bucket = bucket_of([severity])
        mean = FLAKE_MEAN[severity - 1]
        zoom = FLAKE_ZOOM[severity - 1]
        sampled = (rng.normal(mean, FLAKE_SIGMA, size) - mean) / FLAKE_SIGMA / math.sqrt(2)
        angle = rng.uniform(-135, -45)
        middle = [math.ceil(side / zoom) for side in size]
        top, left = [(side - part) // 2 for side, part in zip(size, middle, strict=True)]
        noise = torch.zeros(1, 1, *noise_size(*size))
        noise[0, 0, : middle[0], : middle[1]] = torch.from_numpy(
            sampled[top : top + middle[0], left : left + middle[1]]
        )
        flakes = falling_flakes(noise, np.array([angle]), bucket, size)
        wanted = reference(image, "snow", severity, 3)
        assert_agrees(to_array(snow_on(to_batch(image), bucket, flakes)), wanted, 0.01)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_frost_by_the_window_of_the_reference(
    size, photo, to_batch, to_array, reference, bucket_of
):
    image = photo(*size)
    for severity in SEVERITIES:
        rng = np.random.RandomState(severity)
        chosen = np.array([rng.randint(5)])
        rows, columns = texture_bank(*size, torch.device("cpu")).sizes[chosen[0]]
        corner = np.array([[rng.randint(0, rows - size[0]), rng.randint(0, columns - size[1])]])
        values = add_frost(to_batch(image), bucket_of([severity]), chosen, corner)
        wanted = reference(image, "frost", severity, severity)
        assert_agrees(to_array(values), wanted, 0.03)


@pytest.mark.parametrize("size", [*SIZES, (300, 40)], ids=str)
def test_fog_by_the_numbers_of_the_reference(size, photo, to_batch, to_array, reference, bucket_of):
    image = photo(*size)
    side = 1 << (max(size) - 1).bit_length()
    for severity in SEVERITIES:
        rng = np.random.RandomState(severity)
        noise = np.concatenate([[0], rng.random_sample(side * side - 1) * 2 - 1])
        noise = torch.from_numpy(noise).float()[None]
        values = add_fog(to_batch(image), bucket_of([severity]), noise)
        assert_agrees(to_array(values), reference(image, "fog", severity, severity), 0.01)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_elastic_transform_by_the_numbers_of_the_reference(
    size, photo, to_batch, to_array, reference, bucket_of
):
    image = photo(*size)
    for severity in SEVERITIES:
        rng = np.random.RandomState(severity)
        noise = torch.from_numpy(rng.random_sample((1, 2, *size)) * 2 - 1).float()
        values = displace(to_batch(image), bucket_of([severity]), noise)
        wanted = reference(image, "elastic_transform", severity, severity)
        assert_agrees(to_array(values), wanted, 0.01)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_has_the_probabilities_of_poisson(severity):
    """The alias table, unfolded, for a few grey levels: own share and shares as others' alias."""
    photons = PHOTONS_OF_WHITE[severity - 1]
    table = alias_table(torch.device("cpu")).view(5, 256, 64)[severity - 1].numpy()
    for value in (0, 1, 77, 128, 255):
        found = np.zeros(256)
        np.add.at(found, table[value] & 255, (table[value] >> 16) / 2**15 / 64)
        np.add.at(found, table[value] >> 8 & 255, (1 - (table[value] >> 16) / 2**15) / 64)
        wanted = np.zeros(256)
        mean = value * photons / 255
        for count in range(200):
            log = count * math.log(mean) if mean else (-math.inf if count else 0)
            probability = math.exp(log - mean - math.lgamma(count + 1))
            wanted[int(min(count / photons, 1) * 255)] += probability
        assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "sigmas"), [("gaussian_noise", GAUSSIAN_SCALES), ("speckle_noise", SPECKLE_SCALES)]
)
def test_noises_have_the_sigma_of_the_reference(name, sigmas):
    """Grey 100 is far enough from 0 and 255 for a few sigmas of the first severities."""
    images = torch.full((16, 3, 64, 64), 100, dtype=torch.uint8)
    for severity in (1, 2):
        sigma = sigmas[severity - 1] * (255 if name == "gaussian_noise" else 100)
        values = corrupt_batch(images, [name] * 16, [severity] * 16, range(16)).double()
        count = values.numel()
        assert abs(values.mean() - 99.5) < 4 * sigma / math.sqrt(count)  # truncated: half less
        assert abs(values.std() - math.sqrt(sigma**2 + 1 / 12)) < 4 * sigma / math.sqrt(2 * count)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_counts(severity):
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1] / 2
    images = torch.full((8, 3, 64, 64), 100, dtype=torch.uint8)
    values = corrupt_batch(images, ["impulse_noise"] * 8, [severity] * 8, range(8))
    tolerance = 4 * math.sqrt(share / values.numel())
    assert abs((values == 0).double().mean() - share) < tolerance
    assert abs((values == 255).double().mean() - share) < tolerance
    assert ((values == 0) | (values == 100) | (values == 255)).all()
