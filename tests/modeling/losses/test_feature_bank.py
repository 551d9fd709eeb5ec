"""Bank of features of past batches, against a list, and its triplets against slow loops."""

import collections

import pytest
import torch
from fastreid.modeling.losses import triplet_loss

from fastreid_ext.modeling.losses import FeatureBank, bank_triplet_loss


def contents(parts):
    pairs = [(f.tolist(), label) for fs, ls in parts for f, label in zip(fs, ls, strict=True)]
    return sorted((feature, int(label)) for feature, label in pairs)


@pytest.mark.parametrize("entries", [3, 7, 12])
def test_bank_keeps_the_newest_features(entries):
    bank = FeatureBank(entries, 2)
    wanted = collections.deque(maxlen=entries)
    generator = torch.Generator().manual_seed(0)
    for step in range(9):
        count = 1 + step % 3
        features = torch.randn(count, 2, generator=generator)
        labels = torch.randint(0, 6, (count,), generator=generator)
        staying = contents(bank.staying(count))
        new = list(zip(features.tolist(), labels.tolist(), strict=True))
        wanted.extend(new)
        assert staying == sorted(list(wanted)[: max(len(wanted) - count, 0)])
        bank.push(features, labels)
        assert contents([(bank.features[: len(bank)], bank.labels[: len(bank)])]) == sorted(wanted)
        if step == 5:  # clusters 3 .. 5 get other numbers
            bank.keep_below(3)
            kept = [entry for entry in wanted if entry[1] < 3]
            wanted = collections.deque(kept, maxlen=entries)


def test_bank_of_a_checkpoint_goes_on_as_the_first_one():
    bank = FeatureBank(5, 2)
    bank.push(torch.randn(4, 2), torch.arange(4))
    bank.push(torch.randn(3, 2), torch.arange(3))
    other = FeatureBank.of_state(bank.state_dict(), "cpu")
    for one in (bank, other):
        one.push(torch.ones(1, 2), torch.tensor([9]))
    assert torch.equal(bank.features, other.features)
    assert torch.equal(bank.labels, other.labels)
    assert len(bank) == len(other) == 5


def test_label_0_in_the_last_row_is_an_entry():
    bank = FeatureBank(2, 1)
    bank.push(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 0]))
    bank.push(torch.tensor([[3.0]]), torch.tensor([2]))
    assert bank.features.flatten().tolist() == [3.0, 2.0]


def test_triplets_equal_slow_loops():
    torch.manual_seed(0)
    features = torch.randn(6, 3, dtype=torch.float64)
    targets = torch.tensor([0, 0, 1, 1, 2, 2])
    bank = (torch.randn(9, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1, 5, 5, 2]))
    parts = [(features, targets), bank]
    everything = [(f, int(label)) for fs, ls in parts for f, label in zip(fs, ls, strict=True)]
    total = 0.0
    for anchor, target in zip(features, targets.tolist(), strict=True):
        far = max((anchor - f).norm() for f, label in everything if label == target)
        near = min((anchor - f).norm() for f, label in everything if label != target)
        total += max(float(far - near + 0.3), 0.0)
    found = bank_triplet_loss(features, targets, parts, 0.3)
    assert found.item() == pytest.approx(total / 6, rel=1e-9)


def test_first_batch_has_the_triplets_of_the_batch_and_others_can_only_be_harder():
    torch.manual_seed(0)
    features = torch.randn(8, 16)
    targets = torch.arange(8) // 2
    own = triplet_loss(features, targets, 0.3, False, True)
    first = bank_triplet_loss(features, targets, [(features, targets)], 0.3)
    torch.testing.assert_close(first, own)
    more = [(features, targets), (torch.randn(20, 16), torch.randint(0, 9, (20,)))]
    assert bank_triplet_loss(features, targets, more, 0.3) >= own


def test_only_anchors_get_a_gradient():
    features = torch.randn(4, 3, requires_grad=True)
    bank = torch.randn(5, 3, requires_grad=True)
    targets = torch.tensor([0, 0, 1, 1])
    bank_triplet_loss(features, targets, [(bank, torch.tensor([0, 1, 0, 1, 2]))], 9.0).backward()
    assert features.grad.any()
    assert bank.grad is None
