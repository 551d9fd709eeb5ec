"""Mixup, CutMix, flattening of views: by hand and by counts."""

from collections import Counter

import numpy as np
import pytest
import torch

from fastreid_ext.data.transforms.batch_mixing import (
    CutMix,
    MixBatch,
    Mixture,
    Mixup,
    mixed_images,
)
from fastreid_ext.data.transforms.on_batch import flatten_views, to_float

SHAPE = torch.Size((6, 3, 20, 10))


def batch(rows=6, seed=0):
    images = torch.rand(rows, 3, 20, 10, generator=torch.Generator().manual_seed(seed)) * 255
    return {
        "images": images,
        "targets": torch.arange(rows) * 10,
        "seeds": torch.arange(rows) + seed * 100,
        "img_paths": [str(i) for i in range(rows)],
    }


def test_mixup_is_the_weighted_mean_with_the_partner():
    images = torch.tensor([10.0, 50.0, 90.0])[:, None, None, None].expand(3, 3, 2, 2)
    mixed = mixed_images(images, Mixture((2, 0, 1), 0.75))
    assert mixed[:, 0, 0, 0].tolist() == [30.0, 40.0, 80.0]
    assert images[:, 0, 0, 0].tolist() == [10.0, 50.0, 90.0]


def test_cutmix_pastes_the_box_of_the_partner():
    images = torch.tensor([10.0, 50.0])[:, None, None, None].repeat(1, 3, 4, 4)
    mixed = mixed_images(images, Mixture((1, 0), 0.75, (slice(1, 3), slice(2, 4))))
    expected = torch.full((4, 4), 10.0)
    expected[1:3, 2:4] = 50.0
    assert torch.equal(mixed[0, 1], expected)
    assert torch.equal(mixed[1, 2], 60 - expected)
    assert (images[0] == 10).all()


def test_the_weight_of_cutmix_is_the_area_that_is_left():
    rng = np.random.default_rng(0)
    weights = []
    for _ in range(2000):
        mixture = CutMix(alpha=1.0).sample(rng, SHAPE)
        rows, columns = mixture.box
        assert 0 <= rows.start <= rows.stop <= 20
        assert 0 <= columns.start <= columns.stop <= 10
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        assert mixture.weight == 1 - area / 200
        assert sorted(mixture.partners) == list(range(6))
        weights.append(mixture.weight)
    assert 0.55 < np.mean(weights) < 0.75  # above 1/2: boxes are cut at the border
    assert min(weights) < 0.35
    assert max(weights) == 1


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_weight_of_mixup_is_beta(alpha):
    rng = np.random.default_rng(0)
    weights = np.array([Mixup(alpha=alpha).sample(rng, SHAPE).weight for _ in range(4000)])
    assert abs(weights.mean() - 0.5) < 0.03
    assert abs(weights.var() - 1 / (4 * (2 * alpha + 1))) < 0.008


def test_mixed_batch_says_partners_and_weight():
    original = batch()
    before = original["images"].clone()
    mixed = MixBatch([(Mixup(alpha=1.0), 1.0)])(original)
    partners = (mixed["mix"]["targets"] / 10).long()
    weight = mixed["mix"]["weight"]
    assert isinstance(weight, float)
    assert sorted(partners.tolist()) == list(range(6))
    expected = weight * before + (1 - weight) * before[partners]
    assert torch.allclose(mixed["images"], expected, atol=1e-3)
    assert torch.equal(original["images"], before)
    assert "mix" not in original
    assert mixed["targets"].tolist() == original["targets"].tolist()


def test_a_batch_is_mixed_by_its_seeds_alone():
    step = MixBatch([(Mixup(alpha=1.0), 0.5), (CutMix(alpha=1.0), 0.5)])
    torch.manual_seed(1)
    first = step(batch())
    torch.manual_seed(2)
    again = step(batch())
    other = step(batch(seed=1))
    assert torch.equal(first["images"], again["images"])
    assert first["mix"]["weight"] == again["mix"]["weight"] != other["mix"]["weight"]


def test_of_both_methods_one_or_none_is_sampled():
    step = MixBatch([(Mixup(alpha=1.0), 0.25), (CutMix(alpha=1.0), 0.5)])
    rng = np.random.default_rng(0)
    sampled = Counter()
    for _ in range(2000):
        mixture = step.sample(rng, SHAPE)
        sampled["none" if mixture is None else "cut" if mixture.box else "mix"] += 1
    assert 430 < sampled["mix"] < 570  # 500, deviation 19
    assert 910 < sampled["cut"] < 1090  # 1000, deviation 22
    assert "mix" not in MixBatch([(Mixup(alpha=1.0), 0.0)])(batch())


def test_views_become_rows_view_by_view():
    views = torch.arange(2 * 3).reshape(2, 3)[:, :, None, None, None].expand(2, 3, 3, 4, 2)
    flat = flatten_views(
        {
            "images": views,
            "targets": torch.tensor([7, 8]),
            "boxes": torch.tensor([[1, 2], [3, 4]]),
            "img_paths": ["a", "b"],
            "nested": {"x": torch.tensor([0.5, 1.5])},
            "corruptions": ["|fog:1:2|snow:1:3", "|a:1:1+b:2:2|"],
            "seeds": torch.tensor([5, 6]),
        }
    )
    assert flat["images"].shape == (6, 3, 4, 2)
    assert flat["images"][:, 0, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]  # row v * B + b
    assert flat["targets"].tolist() == [7, 8] * 3
    assert flat["boxes"].tolist() == [[1, 2], [3, 4]] * 3
    assert flat["nested"]["x"].tolist() == [0.5, 1.5] * 3
    assert flat["img_paths"] == ["a", "b"] * 3
    assert flat["corruptions"] == ["", "", "fog:1:2", "a:1:1+b:2:2", "snow:1:3", ""]
    assert flat["views"] == 3


def test_a_batch_without_views_is_named():
    with pytest.raises(ValueError, match=r"expected images \(B, V, 3, H, W\), got \(6, 3, 20, 10"):
        flatten_views(batch())


def test_uint8_becomes_float():
    images = torch.tensor([0, 7, 255], dtype=torch.uint8)
    assert to_float({"images": images})["images"].tolist() == [0.0, 7.0, 255.0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", [Mixup(alpha=1.0), CutMix(alpha=1.0)], ids=["mixup", "cutmix"])
def test_steps_on_the_gpu_give_what_they_give_here(method):
    here = batch()
    there = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in here.items()}
    ours = MixBatch([(method, 1.0)])(here)
    theirs = MixBatch([(method, 1.0)])(there)
    assert theirs["images"].is_cuda
    assert theirs["mix"]["targets"].is_cuda
    assert torch.allclose(theirs["images"].cpu(), ours["images"], atol=1e-4)
    assert theirs["mix"]["weight"] == ours["mix"]["weight"]
