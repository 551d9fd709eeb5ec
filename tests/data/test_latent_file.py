"""Files of latents: layout, progress, refusals. Truth: the bytes at positions computed by hand."""

import contextlib
import errno
import json
import math
import os
import pickle

import numpy as np
import pytest
import torch

from fastreid_ext.data import latent_file
from fastreid_ext.data.dataset import PersonDataset
from fastreid_ext.data.latent_file import (
    LatentFile,
    LatentSource,
    missing_latents,
    writing_latents,
)

SHAPE = (4, 3, 2)
IMAGES = 5
HEAD = 4096
ROW = 2 * 2 * math.prod(SHAPE)
STAMPS = np.array([[1000 + image, 10**18 + image] for image in range(IMAGES)])


def source_of(count=IMAGES, **changes):
    given = {"autoencoder": "vae@1f", "size": [24, 16], **changes}
    return LatentSource.of([f"/images/{image}.jpg" for image in range(count)], **given)


@pytest.fixture
def latents():
    return torch.randn(IMAGES, 2, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def file(tmp_path, latents):
    path = tmp_path / "some.latents"
    with writing_latents(path, source_of(), STAMPS, SHAPE) as writer:
        writer.write(writer.missing[:2], latents[:2])
        writer.write(writer.missing[2:], latents[2:])
    return path


def interrupted(path, latents, stamps=STAMPS, count=2):
    """Write the first ``count`` missing latents, then fail."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        writing_latents(path, source_of(), stamps, SHAPE) as writer,
    ):
        places = writer.missing[:count]
        writer.write(places, latents[places])
        raise KeyboardInterrupt


def test_latents_are_read_by_position(file, latents):
    opened = LatentFile(file, source_of())
    for place in range(IMAGES):
        assert torch.equal(opened.at(place), latents[place].half())
    assert opened.stamps.tolist() == STAMPS.tolist()
    opened.at(0).zero_()  # a copy
    assert torch.equal(opened.at(0), latents[0].half())


def test_layout_is_head_latents_stamps(file, latents):
    data = file.read_bytes()
    assert len(data) == HEAD + IMAGES * (ROW + 16)
    assert json.loads(data[:HEAD])["latent"] == [4, 3, 2]
    third = np.frombuffer(data[HEAD + 3 * ROW : HEAD + 4 * ROW], np.float16)
    assert np.array_equal(third, latents[3].half().flatten().numpy())
    stamps = np.frombuffer(data[HEAD + IMAGES * ROW :], np.int64)
    assert stamps.tolist() == STAMPS.flatten().tolist()


def test_pickled_reader_maps_the_file_itself(file, latents):
    pickled = pickle.dumps(LatentFile(file, source_of()))
    assert len(pickled) < 1000
    assert torch.equal(pickle.loads(pickled).at(4), latents[4].half())


def test_key_tells_sources_apart():
    others = [
        source_of(autoencoder="vae@2e"),
        source_of(size=[24, 24]),
        source_of(count=4),
        LatentSource.of([f"/images/{i}.jpg" for i in (1, 0, 2, 3, 4)], **GIVEN),
    ]
    assert len({source.key for source in [source_of(), *others]}) == 5
    assert source_of().key == source_of().key


GIVEN = {"autoencoder": "vae@1f", "size": [24, 16]}


def test_paths_of_a_source_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert LatentSource.of(["a.jpg"], **GIVEN) == LatentSource.of([tmp_path / "a.jpg"], **GIVEN)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (source_of(autoencoder="vae@2e"), r"autoencoder vae@2e in .*some\.latents, got vae@1f: "),
        (source_of(size=[24, 24]), r"size \(24, 24\) in .*, got \(24, 16\): they are those of"),
        (source_of(count=4), r"images 4 in .*, got 5: .*; remove the file, and the next run"),
        (LatentSource.of("edcba", **GIVEN), r"paths \w{16} in .*, got \w{16}: they are those"),
    ],
)
def test_latents_of_another_source_are_refused(file, other, words):
    with pytest.raises(ValueError, match=words):
        LatentFile(file, other)


@pytest.mark.parametrize("size", [HEAD, HEAD + ROW, -1, "longer"])
def test_file_of_another_length_is_refused(file, size):
    data = file.read_bytes()
    cut = data + b"x" if size == "longer" else data[:size]
    file.write_bytes(cut)
    with pytest.raises(ValueError, match=rf"{len(data)} bytes in .*, got {len(cut)}: .*; remove"):
        LatentFile(file, source_of())


@pytest.mark.parametrize("content", [b"", b"JPEG" * 2000, b"[1]", b"7", b'{"version": "X"}'])
def test_file_of_another_kind_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected latents of version LATENTS_1 in .*; remove"):
        LatentFile(file, source_of())


def test_file_of_an_older_version_is_refused(file):
    file.write_bytes(file.read_bytes().replace(b"LATENTS_1", b"LATENTS_0", 1))
    with pytest.raises(ValueError, match="expected latents of version LATENTS_1"):
        missing_latents(file, source_of(), STAMPS)


def test_missing_file_lacks_all_latents(tmp_path):
    assert missing_latents(tmp_path / "none", source_of(), STAMPS).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(FileNotFoundError):
        LatentFile(tmp_path / "none", source_of())


def test_interrupted_writing_goes_on(tmp_path, file, latents):
    path = tmp_path / "again.latents"
    interrupted(path, latents, count=2)
    assert not path.exists()
    interrupted(path, latents, count=1)
    with writing_latents(path, source_of(), STAMPS, SHAPE) as writer:
        assert writer.missing.tolist() == [3, 4]
        writer.write(writer.missing, latents[3:])
    assert path.read_bytes() == file.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, file]


def test_latent_counts_once_it_is_on_the_disk(tmp_path, latents, monkeypatch):
    path = tmp_path / "some.latents"
    interrupted(path, latents, count=1)
    lines = []
    monkeypatch.setattr(latent_file, "_sync", lambda opened: lines.append(1 / 0))
    with (
        pytest.raises(ZeroDivisionError),
        writing_latents(path, source_of(), STAMPS, SHAPE) as writer,
    ):
        writer.write([1, 2], latents[1:3])
    unfinished = tmp_path / "some.latents.unfinished"
    assert missing_latents(unfinished, source_of(), STAMPS).tolist() == [1, 2, 3, 4]


def test_changed_images_alone_are_missing(file, latents):
    before = file.read_bytes()
    changed = STAMPS.copy()
    changed[[1, 3], [0, 1]] += 1  # another size, another time
    assert missing_latents(file, source_of(), changed).tolist() == [1, 3]
    interrupted(file, -latents, changed, count=1)
    assert file.read_bytes() == before  # others read it
    with writing_latents(file, source_of(), changed, SHAPE) as writer:
        assert writer.missing.tolist() == [3]
        writer.write([3], -latents[3:4])
    opened = LatentFile(file, source_of())
    assert [int(opened.at(i).equal(latents[i].half())) for i in range(5)] == [1, 0, 1, 0, 1]
    assert torch.equal(opened.at(3), -latents[3].half())
    assert not len(missing_latents(file, source_of(), changed))


def test_incomplete_file_does_not_appear(tmp_path, latents):
    path = tmp_path / "some.latents"
    with (
        pytest.raises(ValueError, match=r"latents of all 5 images in .*, got none of 4; write all"),
        writing_latents(path, source_of(), STAMPS, SHAPE) as writer,
    ):
        writer.write([2], latents[2:3])
    assert not path.exists()


def test_latents_of_another_shape_are_refused(tmp_path, latents):
    with (
        pytest.raises(ValueError, match=r"expected latents \(1, 2, 4, 3, 2\), got \(1, 4, 3, 2\)"),
        writing_latents(tmp_path / "some", source_of(), STAMPS, SHAPE) as writer,
    ):
        writer.write([0], latents[:1, 0])


def test_unfinished_file_cut_short_is_refused(tmp_path, latents):
    path = tmp_path / "some.latents"
    interrupted(path, latents)
    os.truncate(tmp_path / "some.latents.unfinished", 5000)
    with (
        pytest.raises(ValueError, match=r"bytes in .*unfinished, got 5000: .*; remove the file"),
        writing_latents(path, source_of(), STAMPS, SHAPE),
    ):
        pass


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def cannot(*_):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_full_disk_is_found_without_reserving(tmp_path, monkeypatch):
    """Give five images latents of 2^40 bytes each, where the file system reserves no space."""
    monkeypatch.setattr(os, "posix_fallocate", cannot)
    shape = (2**16, 2048, 2048)
    with (
        pytest.raises(OSError, match=r"expected 5242880\.0 MiB of free space for .* of 5 images"),
        writing_latents(tmp_path / "some.latents", source_of(), STAMPS, shape),
    ):
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_full_quota_is_found_before_anything_is_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(OSError, match=r"got \d+\.\d MiB; free some space, or give .*LATENT_CACHE"),
        writing_latents(tmp_path / "some.latents", source_of(), STAMPS, SHAPE),
    ):
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_disk_that_fills_up_keeps_what_is_written(tmp_path, latents, monkeypatch):
    path = tmp_path / "some.latents"
    interrupted(path, latents)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with (
            pytest.raises(OSError, match=r"MiB of free space for the latents of 5 images in"),
            writing_latents(path, source_of(), STAMPS, SHAPE) as writer,
        ):
            writer.write([2], latents[2:3])
    with writing_latents(path, source_of(), STAMPS, SHAPE) as writer:
        assert writer.missing.tolist() == [2, 3, 4]
        writer.write(writer.missing, latents[2:])
    assert torch.equal(LatentFile(path, source_of()).at(1), latents[1].half())


def test_samples_have_latents(file, latents):
    items = [(f"/images/{image}.jpg", "set_1", "set_c1") for image in range(IMAGES)]
    dataset = PersonDataset(items, torch.tensor, relabel=True, read=lambda path: [0.0])
    assert "latents" not in dataset[2]
    dataset.latents = LatentFile(file, source_of())
    assert torch.equal(dataset[2]["latents"], latents[2].half())
