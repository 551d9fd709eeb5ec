"""BatchDrop zeroes one rectangle for the whole batch."""

from collections import Counter

import pytest
import torch

from fastreid_ext.modeling.heads import BatchDrop


def test_batch_drop_zeroes_one_stripe_for_the_whole_batch():
    features = torch.rand(5, 7, 24, 8) + 1
    torch.manual_seed(0)
    dropped = BatchDrop(0.33, 1.0).train()(features) == 0
    rows = dropped[0, 0].all(dim=1)
    assert rows.sum() == 8  # of 24, as with 384 x 128 images
    assert rows.nonzero().max() - rows.nonzero().min() == 7  # together
    assert (dropped == rows[None, None, :, None]).all()


def test_batch_drop_keeps_the_rest_and_the_input():
    features = torch.rand(2, 3, 9, 4) + 1
    before = features.clone()
    kept = BatchDrop(0.33, 0.5).train()(features)
    assert torch.equal(features, before)
    assert (kept == 0).sum() == 2 * 3 * 3 * 2
    assert torch.equal(kept[kept != 0], features[kept != 0])


def test_batch_drop_neither_drops_nor_samples_in_eval_mode():
    features = torch.rand(2, 3, 9, 4)
    state = torch.get_rng_state()
    assert BatchDrop(0.33, 1.0).eval()(features) is features
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_drop_samples_every_position_equally_often():
    torch.manual_seed(0)
    drop = BatchDrop(0.33, 0.5)
    corners = Counter(drop.sample(9, 6)[:2] for _ in range(7000))
    assert set(corners) == {(top, left) for top in range(7) for left in range(4)}
    # 250 expected, with a standard deviation of 15.5.
    assert all(180 < count < 320 for count in corners.values())


@pytest.mark.parametrize(("height", "rows"), [(3, 1), (4, 1), (6, 2), (12, 4), (16, 5), (24, 8)])
def test_batch_drop_rounds_its_size(height, rows):
    assert BatchDrop(0.33, 1.0).sample(height, 4)[2:] == (rows, 4)


@pytest.mark.parametrize(("ratios", "size"), [((0.33, 1.0), (1, 4)), ((0.9, 1.0), (3, 4))])
def test_batch_drop_refuses_to_zero_none_or_all(ratios, size):
    with pytest.raises(ValueError, match=r"would zero none or all of the \d x 4 feature map"):
        BatchDrop(*ratios).sample(*size)
    features = torch.rand(2, 3, *size)
    assert BatchDrop(*ratios).eval()(features) is features  # testing needs no rows


def test_batch_drop_refuses_ratios_outside_0_to_1():
    with pytest.raises(ValueError, match=r"expected height_ratio in \(0, 1\], got 1.5"):
        BatchDrop(1.5, 1.0)
