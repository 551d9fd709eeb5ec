"""Frost: the sum written out, which textures, how large, and what is said when they are missing."""

import sys

import cv2
import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import frost as frost_module
from fastreid_ext.corruptions.cpu.frost import FROST, TEXTURES, frost_texture

from .modes import SEVERITIES, fast, noise_image, reference


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("is_reference", [True, False])
def test_frost_adds_a_part_of_one_of_five_textures(severity, is_reference):
    image = noise_image(80, 50)
    chosen = set()
    weight, other = FROST[severity - 1]
    for seed in range(40):
        if is_reference:
            frosted = reference(image, "frost", severity, seed)
            rng = np.random.RandomState(seed)
            below = rng.randint
        else:
            frosted = fast(image, "frost", severity, seed)
            rng = np.random.default_rng(seed)
            below = rng.integers
        index = below(5)
        texture = frost_texture(index, 80, 50)
        top, left = below(texture.shape[0] - 80), below(texture.shape[1] - 50)
        part = texture[top : top + 80, left : left + 50]
        expected = np.clip(weight * image.astype(np.float64) + other * part, 0, 255)
        np.testing.assert_array_equal(frosted, expected.astype(np.uint8))
        chosen.add(int(index))
    assert chosen == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("size", [(32, 32), (256, 128), (700, 90), (90, 1000), (1024, 1024)])
def test_textures_are_enlarged_by_a_tenth_beyond_what_is_needed(index, size):
    file = frost_module._folder() / TEXTURES[index]
    picture = cv2.imread(str(file))
    rows, columns = picture.shape[:2]
    factor = max(1, size[0] / rows, size[1] / columns) * 1.1
    texture = frost_texture(index, *size)
    assert texture.shape == (int(np.ceil(rows * factor)), int(np.ceil(columns * factor)), 3)
    assert texture.shape[0] > size[0]
    assert texture.shape[1] > size[1]
    np.testing.assert_allclose(texture.mean(axis=(0, 1)), picture.mean(axis=(0, 1))[::-1], atol=2)


def test_textures_are_kept_and_not_to_be_written_to():
    texture = frost_texture(0, 256, 128)
    assert frost_texture(0, 128, 64) is texture
    with pytest.raises(ValueError, match="read-only"):
        texture[0, 0] = 0
    for height in range(1000, 1024):
        frost_texture(1, height, 64)
    assert frost_module._scaled.cache_info().currsize <= 10


@pytest.fixture
def forgotten_textures():
    """Textures are read again in this test, and again after it."""
    caches = (frost_module._decoded, frost_module._unscaled, frost_module._scaled)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_says_how_to_install_the_textures(forgotten_textures, monkeypatch):
    monkeypatch.delitem(sys.modules, "imagecorruptions", raising=False)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ImportError, match=r"pip install --no-deps imagecorruptions==1\.1\.2"):
        frost_texture(0, 64, 64)


def test_says_which_texture_is_missing(forgotten_textures, monkeypatch, tmp_path):
    (tmp_path / "imagecorruptions").mkdir()
    (tmp_path / "imagecorruptions" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "imagecorruptions", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"frost1\.png.*imagecorruptions==1\.1\.2"):
        frost_texture(0, 64, 64)
