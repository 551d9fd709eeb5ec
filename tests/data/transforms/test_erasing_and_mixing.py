"""Soft erasing and self-patch mixing: by hand, by counts."""

import numpy as np
import pytest

from fastreid_ext.data.transforms.patch_mixing import MixedPatch, PatchMixing
from fastreid_ext.data.transforms.rectangles import (
    Patch,
    place_patch,
    sample_patch_size,
    with_mixed_patch,
)
from fastreid_ext.data.transforms.soft_erasing import SoftErasing, SoftErasure


def erasing(**changes):
    return SoftErasing(**{"mean": (100, 120, 140), "std": (0, 0, 0)} | changes)


def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8)


def test_noise_is_mixed_into_the_patch_alone():
    image = np.full((4, 5, 3), 20, np.uint8)
    erased = erasing().apply(image, SoftErasure(Patch(1, 2, 2, 3), 0.25, seed=0))
    # 0.75 * 20 + 0.25 * colour
    expected = [40, 45, 50]
    assert erased[1:3, 2:5].reshape(-1, 3).tolist() == [expected] * 6
    erased[1:3, 2:5] = 20
    assert (erased == 20).all()
    assert (image == 20).all()


def test_noise_is_standard_normal_for_the_model_and_clipped():
    image = np.zeros((300, 300, 3), np.uint8)
    transform = erasing(mean=(128, 128, 200), std=(20, 5, 60))
    erased = transform.apply(image, SoftErasure(Patch(0, 0, 300, 300), 1.0, seed=3)).astype(float)
    assert np.allclose(erased.mean(axis=(0, 1))[:2], 128, atol=0.3)
    assert np.allclose(erased.std(axis=(0, 1))[:2], (20, 5), atol=0.2)
    assert 0.17 < (erased[:, :, 2] == 255).mean() < 0.19  # P(z > 54.5 / 60) = 0.182


def test_soft_erasing_repeats_for_a_seed():
    image = picture()
    transform = erasing(std=(60, 60, 60))
    first = transform.apply(image, SoftErasure(Patch(3, 4, 9, 8), 0.9, 1))
    again = transform.apply(image, SoftErasure(Patch(3, 4, 9, 8), 0.9, 1))
    other = transform.apply(image, SoftErasure(Patch(3, 4, 9, 8), 0.9, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_patches_are_mixed_as_they_were():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    sampled = MixedPatch(Patch(0, 0, 2, 2), source=Patch(1, 1, 2, 2), weight=0.5)
    mixed = PatchMixing().apply(image, sampled)
    # The source lies 15 values further on; halves go to the even number.
    expected = np.rint(image[:2, :2] + 7.5)
    assert np.array_equal(mixed[:2, :2], expected)
    mixed[:2, :2] = image[:2, :2]
    assert np.array_equal(mixed, np.arange(48).reshape(4, 4, 3))


@pytest.mark.parametrize(("weight", "of_other"), [(0.0, False), (1.0, True)])
def test_weights_at_the_ends(weight, of_other):
    image = picture()
    other = 255 - image[2:6, 3:9].astype(np.float32)
    mixed = with_mixed_patch(image, Patch(2, 3, 4, 6), other, weight)
    assert np.array_equal(mixed[2:6, 3:9], other if of_other else image[2:6, 3:9])


@pytest.mark.parametrize("transform", [erasing(), PatchMixing()], ids=["erasing", "mixing"])
def test_half_of_the_images_change_and_the_weight_is_beta(transform):
    rng = np.random.default_rng(0)
    sampled = [transform.sample(rng, 256, 128) for _ in range(6000)]
    made = [one for one in sampled if one is not None]
    assert 2850 < len(made) < 3150  # 3000, deviation 39
    weights = np.array([one.weight for one in made])
    assert abs(weights.mean() - 1 / 3) < 0.02  # Beta(0.5, 1)
    assert abs(weights.var() - 0.5 / (1.5**2 * 2.5)) < 0.01
    areas = np.array([one.patch.height * one.patch.width for one in made]) / (256 * 128)
    assert 0.019 < areas.min() < 0.03
    assert 0.38 < areas.max() < 0.41
    ratios = np.array([one.patch.height / one.patch.width for one in made])
    assert 0.28 < ratios.min() < 0.4
    assert 3.1 < ratios.max() < 3.6
    for one in made:
        for patch in (one.patch, getattr(one, "source", one.patch)):
            assert 0 <= patch.top <= 256 - patch.height
            assert 0 <= patch.left <= 128 - patch.width
    if isinstance(transform, PatchMixing):
        assert all(
            (one.patch.height, one.patch.width) == (one.source.height, one.source.width)
            for one in made
        )
        assert np.mean([one.patch != one.source for one in made]) > 0.99


def test_places_are_uniform_inside_the_image():
    rng = np.random.default_rng(0)
    places = [place_patch(rng, 4, 5, (3, 3)) for _ in range(3000)]
    counts = {(top, left): 0 for top in range(2) for left in range(3)}
    for place in places:
        counts[place.top, place.left] += 1
    assert all(420 < count < 580 for count in counts.values())  # 500, deviation 20


def test_a_patch_that_cannot_be_smaller_than_the_image_is_not_sampled():
    assert sample_patch_size(np.random.default_rng(0), 4, 4, (0.95, 0.99), 1.0) is None
    always = erasing(probability=1.0, area=(0.95, 0.99), aspect=1.0)
    image = np.zeros((4, 4, 3), np.uint8)
    assert always(image, np.random.default_rng(0)) is image
    mixing = PatchMixing(probability=1.0, area=(0.95, 0.99), aspect=1.0)
    assert mixing(image, np.random.default_rng(0)) is image


@pytest.mark.parametrize(
    "transform",
    [erasing(probability=1.0, std=(60, 60, 60)), PatchMixing(probability=1.0)],
    ids=["erasing", "mixing"],
)
def test_result_depends_on_the_seed_and_the_input_stays(transform):
    image = picture()
    before = image.copy()
    image.flags.writeable = False
    first = transform(image, np.random.default_rng(1))
    again = transform(image, np.random.default_rng(1))
    other = transform(image, np.random.default_rng(2))
    assert np.array_equal(image, before)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.dtype == np.uint8


def test_a_second_beta_of_zero_is_erasing_by_pixels():
    """The rectangle is a standard normal after normalisation, and nothing of the image is left."""
    erase = erasing(probability=1.0, beta=(1.0, 0.0), mean=(120, 110, 100), std=(20, 21, 22))
    image = np.full((200, 100, 3), 250, np.uint8)
    rng = np.random.default_rng(0)
    sampled = [erase.sample(rng, 200, 100) for _ in range(50)]
    assert {one.weight for one in sampled} == {1.0}
    pixels = np.concatenate(
        [erase.apply(image, one)[one.patch.slices].reshape(-1, 3) for one in sampled]
    )
    assert np.abs(pixels.mean(0) - (120, 110, 100)).max() < 0.5
    assert np.abs(pixels.std(0) - (20, 21, 22)).max() < 0.5
