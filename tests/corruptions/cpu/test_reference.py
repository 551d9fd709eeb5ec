"""The repaired imagecorruptions: it runs, repeats, and leaves nothing behind."""

import importlib.metadata
import importlib.util
import sys

import numpy as np
import pytest
import skimage.filters
import skimage.util

from fastreid_ext.compat.imagecorruptions import TESTED_VERSION, reference


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (32, 37, 3), dtype=np.uint8)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_all_19_run_and_repeat_after_a_seed(severity, image, expected):
    for name in reference().get_corruption_names("all"):
        first = expected(image, name, severity, np.random.RandomState(3))
        again = expected(image, name, severity, np.random.RandomState(3))
        np.testing.assert_array_equal(first, again, err_msg=name)


def test_impulse_noise_takes_two_uniforms_of_the_seeded_stream_for_each_value(image, expected):
    rng = np.random.RandomState(5)
    changed = rng.random_sample(image.shape) <= 0.09
    whites = rng.random_sample(image.shape) <= 0.5
    wanted = np.where(changed, np.where(whites, 255, 0), image)
    np.testing.assert_array_equal(
        expected(image, "impulse_noise", 3, np.random.RandomState(5)), wanted
    )


def test_gaussian_blur_blurs_no_channel_into_another(image, expected):
    blurred = expected(image, "gaussian_blur", 2, np.random.RandomState(0))
    alone = image.copy()
    alone[..., 1:] = 0
    blurred_alone = expected(alone, "gaussian_blur", 2, np.random.RandomState(0))
    np.testing.assert_array_equal(blurred_alone[..., 0], blurred[..., 0])
    assert not blurred_alone[..., 1:].any()


def test_nothing_outside_the_package_is_changed():
    package = reference()
    assert package is reference()
    assert not hasattr(np, "float_")
    assert package.corruptions.np.float_ is np.float64
    assert package.corruptions.np.random is np.random
    assert package.corruptions.gaussian is not skimage.filters.gaussian
    assert package.corruptions.sk.util.random_noise is not skimage.util.random_noise
    assert "pkg_resources" not in sys.modules or sys.modules["pkg_resources"].__spec__ is not None


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("imagecorruptions", r"pip install --no-deps imagecorruptions==1\.1\.2"),
        ("skimage", "pip install scikit-image"),
    ],
)
def test_says_how_to_install_what_is_missing(missing, command, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(ImportError, match=f"expected {missing}, the reference.*{command}"):
        reference.__wrapped__()


def test_says_that_another_version_is_installed(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.1.1")
    with pytest.raises(
        ImportError, match=rf"expected imagecorruptions {TESTED_VERSION}.*got 1.1.1"
    ):
        reference.__wrapped__()


def test_says_that_another_package_has_its_name(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ImportError, match="got a package of another name"):
        reference.__wrapped__()
