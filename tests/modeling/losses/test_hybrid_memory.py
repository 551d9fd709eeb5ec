"""HHCL's memory and loss: from the two memories it is made of, and by hand."""

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.modeling.losses import (
    ClusterMemory,
    HybridMemory,
    hybrid_contrast_loss,
    prototype_contrast_loss,
)


@pytest.fixture
def features():
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(0))


TARGETS = torch.tensor([0, 0, 2, 2, 0, 1, 1, 2])


def memory_of(features) -> HybridMemory:
    memory = HybridMemory(4, 5, momentum=0.1)
    memory.begin(F.normalize(features.flip(0), dim=1), TARGETS.flip(0))
    return memory


def test_halves_begin_equal_and_follow_their_rules(features):
    memory = memory_of(features)
    assert torch.equal(memory.hard.used, memory.mean.used)
    assert memory.hard.count == 3
    alone = {rule: ClusterMemory(4, 5, momentum=0.1, rule=rule) for rule in ("hard", "mean")}
    for rule, other in alone.items():
        other.begin(F.normalize(features.flip(0), dim=1), TARGETS.flip(0))
        other.update(features, TARGETS)
        assert other.rule == rule
    memory.update(features, TARGETS)
    assert torch.equal(memory.hard.used, alone["hard"].used)
    assert torch.equal(memory.mean.used, alone["mean"].used)
    assert not torch.equal(memory.hard.used, memory.mean.used)


def test_loss_is_the_weighted_sum_of_both_contrasts(features):
    memory = memory_of(features)
    memory.update(features, TARGETS)
    hard = prototype_contrast_loss(features, memory.hard.used, TARGETS, 0.05)
    mean = prototype_contrast_loss(features, memory.mean.used, TARGETS, 0.05)
    loss = hybrid_contrast_loss(features, memory, TARGETS, hard_weight=0.3, mean_weight=0.6)
    torch.testing.assert_close(loss, 0.3 * hard + 0.6 * mean)


@pytest.mark.parametrize(("mean_weight", "expected"), [(0.25, 0.095196), (0.5, 0.126928)])
def test_weights_of_code_and_paper_by_hand(mean_weight, expected):
    """f (1, 0), both halves (1, 0) and (0, 1), tau 0.5, y 0: each contrast is 0.126928."""
    memory = HybridMemory(2, 2)
    memory.begin(torch.eye(2), torch.arange(2))
    loss = hybrid_contrast_loss(
        torch.tensor([[1.0, 0.0]]),
        memory,
        torch.tensor([0]),
        temperature=0.5,
        mean_weight=mean_weight,
    )
    assert loss.item() == pytest.approx(expected, abs=1e-6)
