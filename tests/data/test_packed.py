"""Packed sets: index, pixels and the loaders that read them."""

import itertools
import mmap
import os
import pickle

import numpy as np
import pytest
import torch

from fastreid_ext.data.build import build_test_loader, build_train_loader
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.item_arrays import TextArray
from fastreid_ext.data.packed import PackedImages, PackedIndex, read_index, reason_to_pack, stamp

from .packed_sets import only_file, packed


def test_packed_pixels_equal_the_files(tmp_path, paths):
    images = packed(tmp_path, [*paths, paths[0]])  # with a repetition
    for path in paths:
        assert np.array_equal(images(path), read_pixels(path))
        assert not images(path).flags.writeable
    images.verify()
    assert images(paths[-2]).shape == (16, 32, 3)  # rotated


def test_packed_images_can_be_pickled(tmp_path, paths):
    images = packed(tmp_path, paths)
    images(paths[0])
    other = pickle.loads(pickle.dumps(images))
    assert np.array_equal(other(paths[1]), read_pixels(paths[1]))
    assert len(pickle.dumps(images)) < 1000  # holds the file name only


def test_packed_index_locates_each_image(tmp_path, paths):
    index = packed(tmp_path, paths).index
    assert list(index.paths) == sorted(map(os.path.abspath, paths))
    begin = 0
    for place, path in enumerate(index.paths):
        height, width, _ = read_pixels(path).shape
        assert index.place(path) == place
        assert index.sizes[place].tolist() == [height, width]
        assert index.stamps[place].tolist() == list(stamp(path))
        assert index.begins[place] == begin
        begin += 3 * height * width
    assert index.begins[-1] == begin


def test_packed_index_is_mapped_not_copied(tmp_path, paths):
    index = packed(tmp_path, paths).index
    for array in (index.paths.data, index.stamps, index.begins, index.sizes, index.keys):
        while isinstance(array.base, np.ndarray):
            array = array.base
        assert isinstance(array.base.obj, mmap.mmap)
    assert index.keys.flags.aligned  # numpy copies unaligned arrays for each image


def test_packed_images_accept_relative_names(tmp_path, paths, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = packed(tmp_path, [os.path.relpath(path) for path in paths])
    assert np.array_equal(images("images/1.jpg"), read_pixels(paths[1]))
    assert np.array_equal(images(paths[1]), read_pixels(paths[1]))
    with pytest.raises(KeyError, match=r"expected one of the 7 packed images, got .*none\.jpg"):
        images("images/none.jpg")


def test_packed_images_accept_names_outside_utf_8(tmp_path, paths):
    name = os.fsencode(tmp_path / "images") + b"/\xff.png"
    os.rename(os.fsencode(paths[-1]), name)
    images = packed(tmp_path, [*paths[:-1], os.fsdecode(name)])
    assert images(os.fsdecode(name)).shape == (9, 7, 3)


def test_packed_images_read_by_position(tmp_path, paths):
    images = packed(tmp_path, paths)
    shuffled = [paths[place] for place in (3, 0, 6, 3)]
    for path, place in zip(shuffled, images.places_of(shuffled).tolist(), strict=True):
        assert np.array_equal(images.at(place), read_pixels(path))
        assert not images.at(place).flags.writeable
    assert images.places_of(images.index.paths).tolist() == list(range(len(paths)))
    assert images.places_of([]).tolist() == []


@pytest.mark.parametrize("name", ["none", "other", "third", "fourth"])
def test_packed_images_name_an_unknown_image(tmp_path, paths, name):
    images = packed(tmp_path, paths)
    with pytest.raises(KeyError, match=rf"one of the 7 packed images, got .*/{name}\.jpg"):
        images.places_of([paths[0], str(tmp_path / f"{name}.jpg"), "zzz.jpg"])


def test_packed_images_positions_are_looked_up_once(tmp_path, paths, monkeypatch):
    images = packed(tmp_path, paths)
    items = [(path, f"m_{place}", "m_1") for place, path in enumerate(reversed(paths))]
    dataset = PersonDataset(items, np.array, relabel=True, read=images)
    monkeypatch.setattr(PackedIndex, "place", None)
    for place, (path, _, _) in enumerate(items):
        sample = dataset[place]
        assert np.array_equal(sample["images"], read_pixels(path))
        assert sample["img_paths"] == path


def test_packed_index_refuses_equal_hashes(monkeypatch):
    monkeypatch.setattr("fastreid_ext.data.packed._key", lambda path: len(path))
    names = TextArray.of(["/a", "/bb", "/cc"])
    with pytest.raises(ValueError, match=r"the same for /bb and /cc; rename one"):
        PackedIndex.of(names, np.zeros((3, 2), int), np.ones((3, 2), np.int32), "")


def test_packed_set_of_other_decoders_or_lists_is_outdated(tmp_path, paths, monkeypatch):
    packed(tmp_path, paths)
    file = only_file(tmp_path)
    absolute = read_index(file).paths
    stamps = np.array([stamp(path) for path in absolute])
    assert reason_to_pack(file, absolute, stamps) == ""
    assert reason_to_pack(file, absolute[:2], stamps[:2]) == "it has other images"
    monkeypatch.setattr("fastreid_ext.data.packed.DECODERS", "Pillow 99")
    assert "here is Pillow 99" in reason_to_pack(file, absolute, stamps)


def test_packed_set_verify_finds_changed_pixels(tmp_path, paths):
    packed(tmp_path, paths)
    file = only_file(tmp_path)
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    with pytest.raises(OSError, match=r"expected the pixels in .* to have the hash .*remove the"):
        PackedImages(file).verify()


@pytest.mark.parametrize("workers", [0, 1])
def test_packed_set_gives_equal_training_batches(make_cfg, tmp_path, workers):
    changes = {
        "DATALOADER__NUM_WORKERS": workers,
        "INPUT__CJ__ENABLED": False,
    }
    loaders = [
        build_train_loader(make_cfg(**changes, DATALOADER__PACKED_CACHE=str(folder)))
        for folder in ("", tmp_path)
    ]
    for plain, mapped in zip(
        *(itertools.islice(iter(loader), 3) for loader in loaders), strict=True
    ):
        assert torch.equal(plain["images"], mapped["images"])
        assert plain["img_paths"] == mapped["img_paths"]
    assert len(list(tmp_path.glob("train-*.packed"))) == 1


def test_packed_set_gives_equal_test_batches(make_cfg, tmp_path):
    loaders = [
        build_test_loader(make_cfg(DATALOADER__PACKED_CACHE=str(folder)), "Market1501")[0]
        for folder in ("", tmp_path)
    ]
    for plain, mapped in zip(*loaders, strict=True):
        assert torch.equal(plain["images"], mapped["images"])
    assert len(list(tmp_path.glob("Market1501-*.packed"))) == 1


def test_packed_cache_that_is_a_file_is_refused(make_cfg, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"PACKED_CACHE .*file is a file; give a folder"):
        make_cfg(DATALOADER__PACKED_CACHE=str(tmp_path / "file"))
