"""The corruption index: equal on every machine, uniform, and refused if it does not match."""

import dataclasses
import gzip
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES
from fastreid_ext.evaluation.corruption.corrupted_images import test_images
from fastreid_ext.evaluation.corruption.image_fingerprints import fingerprint
from fastreid_ext.evaluation.corruption.index import sample_corruption, sample_index
from fastreid_ext.evaluation.corruption.index_file import read_index, write_index

from .conftest import small_config, write_image


@pytest.fixture
def tree(market_root, tmp_path):
    """Copy the data set to a folder that tests may change."""
    return shutil.copytree(market_root, tmp_path / "elsewhere")


def files_below(root):
    return test_images(small_config(root), "Market1501").files("both")


@pytest.mark.parametrize("name", ["index.jsonl", "index.jsonl.gz"])
def test_index_file_is_equal_from_two_roots(name, index, tree, tmp_path):
    write_index(index, tmp_path / "a" / name)
    write_index(sample_index("Market1501", files_below(tree), repeats=3), tmp_path / "b" / name)
    data = (tmp_path / "a" / name).read_bytes()
    assert data == (tmp_path / "b" / name).read_bytes()
    text = gzip.decompress(data) if name.endswith("gz") else data
    assert str(tree).encode() not in text
    assert len(text.splitlines()) == 1 + 6 + 12
    assert [path.name for path in (tmp_path / "a").iterdir()] == [name]


@pytest.mark.parametrize("name", ["index.jsonl", "index.jsonl.gz"])
def test_index_is_read_as_written(name, index, tmp_path):
    write_index(index, tmp_path / name)
    again = read_index(tmp_path / name)
    assert list(again.rows()) == list(index.rows())
    assert again.rows_sha256 == index.rows_sha256
    assert again.in_repeat(4, 2) == index.in_repeat(4, 2)
    for field in ("types", "severities", "seeds", "grid_seeds"):
        assert getattr(again, field).dtype == getattr(index, field).dtype


def test_index_row_lists_image_corruption_severity_and_seed(index, tmp_path):
    write_index(index, tmp_path / "index.jsonl")
    header, row = map(json.loads, (tmp_path / "index.jsonl").read_text().splitlines()[:2])
    assert header["corruptions"] == list(CORRUPTION_NAMES)
    assert len(CORRUPTION_NAMES) == 20
    assert (header["data_set"], header["repeats"], header["images"]) == ("Market1501", 3, 18)
    assert row["image"].startswith("Market-1501-v15.09.15/bounding_box_test/0009_c1s1")
    name, severity, seed = row["repeats"][0].split(":")
    assert name in CORRUPTION_NAMES
    assert 1 <= int(severity) <= 5
    assert 0 <= int(seed) < 2**32


def test_sample_index_depends_on_each_image_alone(images, index):
    files = images.files("both")
    left_out = dict(list(files.items())[1:])
    fewer = sample_index("Market1501", left_out, repeats=2)
    rows = {name: row for row, name in enumerate(index.names)}
    for row, name in enumerate(fewer.names):
        for repeat in range(2):
            assert fewer.in_repeat(row, repeat) == index.in_repeat(rows[name], repeat)


def test_sample_corruption_depends_on_seed_data_set_image_and_repeat():
    sampled = {
        sample_corruption(0, "Market1501", "a.jpg", 0),
        sample_corruption(1, "Market1501", "a.jpg", 0),
        sample_corruption(0, "DukeMTMC", "a.jpg", 0),
        sample_corruption(0, "Market1501", "b.jpg", 0),
        sample_corruption(0, "Market1501", "a.jpg", 1),
    }
    assert len({corruption.seed for corruption in sampled}) == 5


def test_sample_corruption_known_value():
    """An index must not change with the code; this value is from the first version."""
    sampled = sample_corruption(0, "Market1501", "query/0001_c1s1_001051_00.jpg", 0)
    assert str(sampled) == "defocus_blur:4:3306906270"


def test_sample_corruption_is_uniform():
    """Chi-square over 40,000 samples: types, severities, pairs, and successive types."""
    sampled = np.array(
        [
            [
                (CORRUPTION_NAMES.index(c.name), c.severity - 1, c.seed)
                for c in (sample_corruption(0, "Market1501", f"{i}.jpg", k) for k in range(10))
            ]
            for i in range(4000)
        ]
    )
    types = sampled[..., 0]
    severities = sampled[..., 1]
    seeds = sampled[..., 2]
    pairs = types * 5 + severities
    following = types[:, :-1] * 20 + types[:, 1:]
    for values, kinds in ((types, 20), (severities, 5), (pairs, 100), (following, 400)):
        assert chisquare(np.bincount(values.ravel(), minlength=kinds)).pvalue > 1e-3
    assert chisquare(np.bincount((seeds >> 28).ravel(), minlength=16)).pvalue > 1e-3
    assert len(np.unique(seeds)) > 39_990


@pytest.mark.parametrize("name", ["query", "bounding_box_test"])
def test_index_names_missing_extra_and_changed_images(name, index, tree):
    folder = tree / "Market-1501-v15.09.15" / name
    index.expect_images(files_below(tree))
    first = sorted(folder.iterdir())[0]
    before = first.read_bytes()
    write_image(first, seed=99)
    named = re.escape(f"{folder.name}/{first.name}")
    with pytest.raises(
        ValueError, match=rf"1 of the 18 images .* are others .* first is .*{named}"
    ):
        index.expect_images(files_below(tree))
    first.unlink()
    with pytest.raises(ValueError, match=rf"lacks 1 of the 18 images .* first is .*{named};"):
        index.expect_images(files_below(tree))
    first.write_bytes(before)
    write_image(folder / "0011_c6s1_000000_00.jpg")
    with pytest.raises(ValueError, match=r"has 1 more than the 18 images .*0011_c6s1_000000_00"):
        index.expect_images(files_below(tree))


def test_index_of_another_evaluation_is_refused(index):
    index.expect("Market1501", "query", 3)
    with pytest.raises(
        ValueError, match="index of DukeMTMC, got one of Market1501; give the index"
    ):
        index.expect("DukeMTMC", "both", 3)
    with pytest.raises(ValueError, match="expected 1 to 3 repeats, which the -C index has, got 10"):
        index.expect("Market1501", "both", 10)
    queries = dataclasses.replace(index, side="query")
    with pytest.raises(ValueError, match="with images of side 'both', got side 'query'"):
        queries.expect("Market1501", "both", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("fog", "rain"), "18 images that were written, got 18 or changed"),
        (lambda t: t.rsplit("\n", 2)[0], "18 images that were written, got 17 or changed"),
        (lambda t: t[:-40], r"expected lines of JSON with an image.*JSONDecodeError"),
        (lambda t: t.replace('"grid_seed"', '"seed_of_grid"'), r"expected lines .* KeyError"),
        (lambda t: t.replace("index 1", "index 7"), r"expected format '.*1'.*got '.* index 7'"),
        (lambda t: t.replace('"fog", ', '"fogg", ', 1), "unknown corruption 'fogg'; known: gauss"),
        (lambda t: t.replace('"side"', '"Seite"'), r":1: expected the keys .* without side"),
        (lambda t: "image fog 3\n" + t, r":1: expected a line of JSON, got: Expecting value"),
        (lambda t: "[1]\n" + t, r":1: expected the keys .* without format, data_set"),
        (lambda t: "", r":1: expected a line of JSON"),
        (lambda t: re.sub(r"fog:\d:", "fog:6:", t), r"fog:6:\d+, a severity or seed out of range"),
        (lambda t: re.sub(r'"grid_seed":\d+', '"grid_seed":-1', t), r"expected lines .*Overflow"),
        (lambda t: re.sub(r'"fog:\d:\d+"', "5", t), r"expected lines .* AttributeError"),
    ],
)
def test_damaged_index_is_refused(change, message, images, tmp_path):
    file = tmp_path / "index.jsonl"
    write_index(sample_index("Market1501", images.files("both"), repeats=9), file)
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=message):
        read_index(file)


def test_index_in_a_truncated_gzip_file_is_refused(index, tmp_path):
    file = tmp_path / "index.jsonl.gz"
    write_index(index, file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"expected text, gzipped if \.gz, got: Compressed file"):
        read_index(file)
    file.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"expected text, gzipped if \.gz, got: Not a gzipped"):
        read_index(file)


def test_missing_index_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no -C index at .*none\.jsonl; give an existing"):
        read_index(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    "wrong", [{"repeats": 0}, {"seed": -1}, {"side": "left"}, {"corruptions": ["fogg"]}]
)
def test_sample_index_refuses_wrong_arguments(wrong, images):
    with pytest.raises(
        ValueError, match=r"expected images, repeats >= 1, seed >= 0, a side of query"
    ):
        sample_index("Market1501", images.files("both"), **wrong)


def test_sample_index_names_an_unreadable_image(tmp_path):
    with pytest.raises(OSError, match=r"cannot read image .*gone\.jpg: .*; restore the data set"):
        sample_index("Market1501", {"gone.jpg": str(tmp_path / "gone.jpg")})


def test_fingerprint_hashes_pixels_of_png_and_bytes_of_jpeg(tmp_path):
    picture = Image.open(write_image(tmp_path / "a.png"))
    picture.save(tmp_path / "small.png", optimize=True)
    picture.save(tmp_path / "quick.png", compress_level=0)
    assert fingerprint(tmp_path / "small.png") == fingerprint(tmp_path / "quick.png")
    assert fingerprint(write_image(tmp_path / "b.png", seed=1)) != fingerprint(tmp_path / "a.png")
    picture.save(tmp_path / "a.jpg", quality=90)
    picture.save(tmp_path / "b.jpg", quality=91)
    assert fingerprint(tmp_path / "a.jpg") != fingerprint(tmp_path / "b.jpg")
