"""Infrared images with unequal channels and grey visible ones are counted before training."""

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data import modality_check
from fastreid_ext.data.modality_check import modality_warnings
from fastreid_ext.data.preflight import preflight

from .conftest import write_image


def write(folder, camera, number, *, grey, suffix="jpg"):
    path = folder / f"{number:04d}_c{camera}s1_000000_00.{suffix}"
    write_image(path, seed=10 * number + camera, mode="L" if grey else "RGB")
    return str(path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "RenderedVI" / "bounding_box_train"


def test_images_of_the_right_modality_give_no_warning(folder):
    paths = [write(folder, camera, 1, grey=camera in (3, 6)) for camera in range(1, 7)]
    assert modality_warnings("RenderedVI", paths, is_full=True) == []


def test_images_of_the_other_modality_are_counted(folder):
    paths = [write(folder, camera, 1, grey=camera in (3, 6)) for camera in range(1, 7)]
    coloured = [write(folder, 3, number, grey=False) for number in (2, 3)]
    grey = [write(folder, 1, 2, grey=True)]
    of_visible, of_infrared = modality_warnings("RenderedVI", paths + coloured + grey, is_full=True)
    assert of_infrared.startswith(
        f"2 of 4 infrared images of RenderedVI that were decoded have unequal channels (e.g. "
        f"{coloured[0]}); three channels of an infrared camera are equal"
    )
    assert of_visible.startswith(
        f"1 of 5 visible images of RenderedVI that were decoded have three equal channels (e.g. "
        f"{grey[0]}); a visible-infrared network learns nothing of colours"
    )


def test_unreadable_images_do_not_count(folder):
    paths = [write(folder, 3, number, grey=False) for number in (1, 2)]
    open(paths[0], "wb").close()
    [warning] = modality_warnings("RenderedVI", paths, is_full=True)
    assert warning.startswith("1 of 1 infrared images")


def test_compressed_grey_is_grey_and_pale_colours_are_not():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (64, 32, 1)).repeat(3, axis=2)
    noisy = np.clip(grey + rng.integers(0, 2, (64, 32, 3)), 0, 255).astype(np.uint8)
    assert modality_check._is_grey(Image.fromarray(noisy))
    pale = np.clip(grey + np.array([4, 0, 0]), 0, 255).astype(np.uint8)
    assert not modality_check._is_grey(Image.fromarray(pale))


def test_sets_of_one_modality_are_not_decoded(tmp_path):
    assert modality_warnings("Market1501", [str(tmp_path / "none.jpg")], is_full=True) == []


@pytest.mark.parametrize(("is_full", "seen"), [(True, 12), (False, 5)])
def test_only_a_full_preflight_decodes_all(folder, monkeypatch, is_full, seen):
    monkeypatch.setattr(modality_check, "_FEW", 5)
    paths = [write(folder, 3, number, grey=False) for number in range(12)]
    [warning] = modality_warnings("RenderedVI", paths, is_full=is_full)
    assert warning.startswith(f"{seen} of {seen} infrared images")


def test_preflight_says_it(make_cfg, tmp_path):
    root = tmp_path / "RenderedVI"
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        for pid in (1, 2) if split == "bounding_box_train" else (3, 4):
            for camera in (3,) if split == "query" else (1, 2, 3):
                write(root / split, camera, pid, grey=split == "query")
    cfg = make_cfg(tmp_path, DATASETS__NAMES=("RenderedVI",), DATASETS__TESTS=("RenderedVI",))
    said = [text for text in preflight(cfg).warnings if "that were decoded" in text]
    assert [text.split(" of RenderedVI")[0] for text in said] == ["4 of 6 infrared images"]
    off = make_cfg(
        tmp_path,
        DATASETS__NAMES=("RenderedVI",),
        DATASETS__TESTS=("RenderedVI",),
        DATASETS__PREFLIGHT="off",
    )
    assert not [text for text in preflight(off).warnings if "that were decoded" in text]
