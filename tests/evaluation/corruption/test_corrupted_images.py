"""Corrupted test images: native size, repeats of the index, any number of workers."""

import itertools

import numpy as np
from PIL import Image

from fastreid_ext.corruptions.cpu import corrupt, enlarged
from fastreid_ext.data.dataset import PersonDataset, read_rgb
from fastreid_ext.data.transforms import build_transforms
from fastreid_ext.evaluation.corruption.corrupted_images import (
    CorruptedImages,
    Part,
    corrupted_batches,
    corrupted_pixels,
    pixel_hash,
)
from fastreid_ext.evaluation.corruption.index import sample_index

from .conftest import SOME


def test_images_of_each_side(images):
    assert [len(images.rows(side)) for side in ("query", "gallery", "both")] == [6, 12, 18]
    assert all("/query/" in name for name in images.files("query"))
    assert all("/bounding_box_test/" in name for name in images.files("gallery"))


def test_corrupted_images_are_corrupted_at_native_size_then_transformed(images, make_cfg):
    """Computed by hand from public functions alone."""
    path = images.items[0][0]
    transform = build_transforms(make_cfg(), is_train=False)
    index = sample_index("Market1501", images.files("both"))
    sample = CorruptedImages(images, index, transform)[Part(cell=("fog", 3)), 0]
    seed = int(index.grid_seeds[index.row_of[images.names[0]]])
    native = np.asarray(read_rgb(path).resize((32, 64), Image.Resampling.BILINEAR))
    assert enlarged(np.asarray(read_rgb(path))).shape == (64, 32, 3)  # files are 16 x 32
    large = enlarged(np.asarray(read_rgb(path)))
    assert np.abs(large.astype(int) - native).mean() < 3  # cv2 and Pillow round differently
    expected = corrupt(large, "fog", 3, np.random.RandomState(seed), reference=True)
    assert (sample["images"] == transform(Image.fromarray(expected))).all()
    assert sample["pixels"] == pixel_hash(expected)


def test_corrupted_images_of_a_repeat_follow_the_index(images, index, make_cfg):
    transform = build_transforms(make_cfg(), is_train=False)
    sample = CorruptedImages(images, index, transform)[Part(repeat=2), 5]
    corruption = index.in_repeat(index.names.index(images.names[5]), 2)
    expected = corrupted_pixels(np.asarray(read_rgb(images.items[5][0])), corruption)
    assert sample["pixels"] == pixel_hash(expected)


def test_corrupted_images_clean_part_equals_the_usual_data_set(images, index, make_cfg):
    transform = build_transforms(make_cfg(), is_train=False)
    usual = PersonDataset(images.items, transform, relabel=False)[3]
    ours = CorruptedImages(images, index, transform)[Part(), 3]
    assert (ours["images"] == usual["images"]).all()
    assert [ours[key] for key in ("targets", "camids", "img_paths")] == [
        usual[key] for key in ("targets", "camids", "img_paths")
    ]


def test_enlarged_leaves_large_images_unchanged():
    image = np.zeros((40, 32, 3), np.uint8)
    assert enlarged(image) is image
    assert corrupted_pixels(image, None) is image
    assert enlarged(np.zeros((20, 50, 3), np.uint8)).shape == (32, 80, 3)


def test_corrupted_batches_do_not_depend_on_the_number_of_workers(images, make_cfg):
    """Pixels and order are equal; no batch has images of two jobs."""
    index = sample_index("Market1501", images.files("both"), repeats=1, corruptions=SOME)
    parts = (Part(), Part(repeat=0), Part(cell=("rain", 5)))
    jobs = [(part, images.rows(side)) for part in parts for side in ("query", "gallery")]
    runs = []
    for workers in (0, 2):
        cfg = make_cfg(TEST__NUM_WORKERS=workers, TEST__IMS_PER_BATCH=5)
        runs.append([list(job) for job in corrupted_batches(cfg, images, index, jobs)])
    assert [[len(batch["targets"]) for batch in job] for job in runs[1]] == [[5, 1], [5, 5, 2]] * 3
    for alone, shared in zip(*map(itertools.chain.from_iterable, runs), strict=True):
        assert (alone["images"] == shared["images"]).all()
        assert (alone["pixels"] == shared["pixels"]).all()
        assert alone["img_paths"] == shared["img_paths"]
    paths = [path for batch in runs[0][2] + runs[0][3] for path in batch["img_paths"]]
    assert paths == [item[0] for item in images.items]
