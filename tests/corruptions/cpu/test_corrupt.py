"""The entry: what it accepts, refuses and leaves alone, for every corruption and mode."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import COMMON_CORRUPTIONS, CORRUPTION_NAMES, corrupt

WITHOUT_RANDOMNESS = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}
MODES = [True, False]
every = pytest.mark.parametrize("name", CORRUPTION_NAMES)
mode = pytest.mark.parametrize("reference", MODES, ids=["reference", "fast"])


def generator(reference, seed=0):
    return np.random.RandomState(seed) if reference else np.random.default_rng(seed)


def run(image, name, severity=3, *, reference, seed=0):
    return corrupt(image, name, severity, generator(reference, seed), reference=reference)


def test_the_names_are_the_15_common_the_4_for_validation_and_rain():
    assert len(CORRUPTION_NAMES) == len(set(CORRUPTION_NAMES)) == 20
    assert CORRUPTION_NAMES[:15] == COMMON_CORRUPTIONS
    assert CORRUPTION_NAMES[15:] == (
        "speckle_noise",
        "gaussian_blur",
        "spatter",
        "saturate",
        "rain",
    )


def test_the_entry_imports_no_kernels():
    """Compiled code is read when a corruption is first asked for, not by whoever names them."""
    entry = Path(sys.modules[corrupt.__module__].__file__)
    nodes = [node for node in ast.parse(entry.read_text()).body if hasattr(node, "names")]
    names = {getattr(node, "module", None) or node.names[0].name for node in nodes}
    assert names <= {
        *("difflib", "importlib", "numbers", "collections.abc"),
        *("cv2", "numpy", "numpy.typing"),
    }


def test_the_first_19_names_are_those_of_the_reference():
    from fastreid_ext.compat.imagecorruptions import reference

    assert list(CORRUPTION_NAMES[:19]) == reference().get_corruption_names("all")


@every
@mode
def test_an_image_is_left_alone_and_the_result_is_its_own(name, reference, figure):
    image = figure(48, 39)
    before = image.copy()
    result = run(image, name, reference=reference)
    np.testing.assert_array_equal(image, before)
    assert result.dtype == np.uint8
    assert result.shape == image.shape
    assert result.flags.writeable
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, image)
    assert (result != image).any()


@every
@mode
def test_views_and_read_only_images_give_the_same(name, reference, figure):
    image = figure(40, 34)
    wanted = run(image, name, reference=reference)
    large = np.zeros((80, 34, 6), np.uint8)
    large[::2, :, ::2] = image
    flipped = image[:, ::-1].copy()[:, ::-1]
    fixed = image.copy()
    fixed.flags.writeable = False
    for view in (large[::2, :, ::2], flipped, np.asfortranarray(image), fixed):
        np.testing.assert_array_equal(run(view, name, reference=reference), wanted)
    assert not fixed.flags.writeable


@every
@mode
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (90, 32), (32, 131)], ids=str)
def test_any_shape_from_32_pixels(name, reference, shape, figure):
    for severity in (1, 5):
        result = run(figure(*shape), name, severity, reference=reference)
        assert result.shape == (*shape, 3)


@every
def test_a_large_image(name, figure):
    assert run(figure(1024, 413), name, 5, reference=False).shape == (1024, 413, 3)


@every
@mode
def test_equal_seeds_give_equal_images_and_others_do_not(name, reference, figure):
    image = figure(64, 40)
    first = run(image, name, reference=reference, seed=4)
    again = run(image, name, reference=reference, seed=4)
    other = run(image, name, reference=reference, seed=5)
    np.testing.assert_array_equal(first, again)
    assert (first == other).all() == (name in WITHOUT_RANDOMNESS)


@pytest.mark.parametrize("name", sorted(WITHOUT_RANDOMNESS))
@mode
def test_corruptions_without_randomness_leave_the_generator_alone(name, reference, figure):
    used = generator(reference)
    fresh = generator(reference)
    corrupt(figure(40, 40), name, 2, used, reference=reference)
    assert used.random() == fresh.random()


@every
@mode
def test_two_samples_of_one_generator_differ(name, reference, figure):
    rng = generator(reference)
    image = figure(64, 40)
    first = corrupt(image, name, 3, rng, reference=reference)
    second = corrupt(image, name, 3, rng, reference=reference)
    assert (first == second).all() == (name in WITHOUT_RANDOMNESS)


@every
@mode
def test_numpy_integers_are_severities(name, reference, figure):
    image = figure(32, 40)
    wanted = run(image, name, 2, reference=reference)
    np.testing.assert_array_equal(run(image, name, np.int64(2), reference=reference), wanted)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([[0, 0, 0]], r"expected image \(H, W, 3\) uint8 RGB.*got list; .*np.asarray"),
        (np.zeros((40, 40, 3), np.float32), r"got \(40, 40, 3\) float32; .*before ToTensor"),
        (np.full((40, 40, 3), np.nan), r"float64; its values lie in \[nan, nan\]"),
        (np.zeros((40, 40, 3), np.int64), r"int64; convert it with image.astype\(np.uint8\)"),
        (np.zeros((40, 40, 3), bool), r"bool; convert it"),
        (np.zeros((3, 40, 40), np.uint8), r"channels come last: image.transpose\(1, 2, 0\)"),
        (np.zeros((3, 40, 40), np.float32), r"channels come last"),
        (np.zeros((40, 40), np.uint8), r"grey image needs three equal channels"),
        (np.zeros((40, 40, 1), np.uint8), r"convert\('RGB'\)"),
        (np.zeros((40, 40, 4), np.uint8), r"convert\('RGB'\)"),
        (np.zeros((2, 40, 40, 3), np.uint8), r"batch one by one"),
        (np.zeros((31, 64, 3), np.uint8), r"at least 32x32 pixels, got \(31, 64, 3\) uint8"),
        (np.zeros((64, 20, 3), np.uint8), r"resize it before"),
    ],
)
def test_says_which_image_it_wanted(image, words):
    with pytest.raises(ValueError, match=words):
        corrupt(image, "fog", 3, np.random.default_rng(0))


def test_says_the_range_of_a_float_image(figure):
    with pytest.raises(ValueError, match=r"its values lie in \[0, 1\]"):
        corrupt(figure(40, 40) / 255.0, "fog", 3, np.random.default_rng(0))


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0, 2.5, "3", None, True, np.float64(3)])
def test_says_which_severity_it_wanted(severity, figure):
    with pytest.raises(ValueError, match="expected severity 1, 2, 3, 4 or 5, got"):
        corrupt(figure(40, 40), "fog", severity, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fogg", "unknown corruption 'fogg'; did you mean 'fog'"),
        ("Gaussian_Noise", "did you mean 'gaussian_noise'"),
        ("motionblur", "did you mean 'motion_blur'"),
        ("jpeg", "did you mean 'jpeg_compression'|known: "),
        ("zzz", "unknown corruption 'zzz'; known: gaussian_noise, shot_noise, .*, rain"),
        (3, "unknown corruption 3"),
        (["fog"], r"unknown corruption \['fog'\]"),
        (None, "unknown corruption None"),
    ],
)
def test_says_which_names_it_knows(name, words, figure):
    with pytest.raises(ValueError, match=words):
        corrupt(figure(40, 40), name, 3, np.random.default_rng(0))


@pytest.mark.parametrize("rng", [np.random.default_rng(0), np.random, 0, None])
def test_says_which_generator_reference_mode_wants(rng, figure):
    with pytest.raises(TypeError, match=r"RandomState with reference=True.*RandomState\(seed\)"):
        corrupt(figure(40, 40), "contrast", 3, rng, reference=True)


@pytest.mark.parametrize("rng", [np.random.RandomState(0), np.random, 0, None])
def test_says_which_generator_fast_mode_wants(rng, figure):
    with pytest.raises(TypeError, match=r"Generator with reference=False.*default_rng\(seed\)"):
        corrupt(figure(40, 40), "contrast", 3, rng)
