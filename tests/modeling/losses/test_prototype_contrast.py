"""Prototypes and their contrast against loops over identities; two processes against one."""

import datetime
import math
import multiprocessing

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from fastreid_ext.modeling.losses import PrototypeMemory, prototype_contrast_loss

N = 6
D = 4


def unit(values: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def features_of(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, D, dtype=torch.float64, generator=generator)


def memory_of(momentum: float = 0.2, identities: int = N) -> PrototypeMemory:
    """Build a memory in float64 with unit vectors in it."""
    memory = PrototypeMemory(identities, D, momentum).double()
    memory.prototypes.copy_(F.normalize(features_of(identities, seed=9), dim=1))
    return memory


def rebuilt_by_loops(features: Tensor, targets: Tensor) -> Tensor:
    means = []
    for identity in range(N):
        own = [unit(f.tolist()) for f, t in zip(features, targets, strict=True) if t == identity]
        means.append(unit([sum(column) / len(own) for column in zip(*own, strict=True)]))
    return torch.tensor(means, dtype=torch.float64)


def updated_by_loops(
    prototypes: Tensor, features: Tensor, targets: Tensor, momentum: float
) -> Tensor:
    """Move each prototype of the batch to its least similar feature, the first of equals."""
    updated = prototypes.tolist()
    for identity in sorted(set(targets.tolist())):
        before = updated[identity]
        hardest = None
        for feature, target in zip(features, targets.tolist(), strict=True):
            row = unit(feature.tolist())
            if target == identity and (hardest is None or dot(row, before) < dot(hardest, before)):
                hardest = row
        updated[identity] = unit(
            [momentum * a + (1 - momentum) * b for a, b in zip(before, hardest, strict=True)]
        )
    return torch.tensor(updated, dtype=torch.float64)


def test_rebuild_equals_loops():
    features = features_of(20)
    targets = torch.arange(20) % N
    memory = memory_of()
    memory.rebuild(features, targets)
    torch.testing.assert_close(memory.prototypes, rebuilt_by_loops(features, targets))


def test_rebuild_does_not_depend_on_the_order_or_on_lengths():
    features = features_of(20)
    targets = torch.arange(20) % N
    memory = memory_of()
    memory.rebuild(features, targets)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    other = memory_of()
    other.rebuild((features * torch.arange(1, 21)[:, None])[order], targets[order])
    torch.testing.assert_close(memory.prototypes, other.prototypes)


@pytest.mark.parametrize("broken", ["no image", "NaN", "infinity", "zero"])
def test_rebuild_names_an_identity_without_features_and_leaves_the_memory(broken):
    features = features_of(20)
    targets = torch.arange(20) % N
    if broken == "no image":
        targets[targets == 4] = 3
    else:
        value = {"NaN": torch.nan, "infinity": torch.inf, "zero": 0.0}[broken]
        rows = targets == 4
        features[rows if broken == "zero" else 4] = value
    memory = memory_of()
    before = memory.prototypes.clone()
    expected = r"of all 6 identities, got none of 1 of them \(the first is class 4\).*NUM_CLASSES"
    with pytest.raises(ValueError, match=expected):
        memory.rebuild(features, targets)
    assert torch.equal(memory.prototypes, before)


@pytest.mark.parametrize("momentum", [0.0, 0.2, 0.9, 1.0])
def test_update_equals_loops(momentum):
    features = features_of(9, seed=4)
    targets = torch.tensor([2, 5, 2, 2, 0, 5, 3, 0, 2])
    memory = memory_of(momentum)
    before = memory.prototypes.clone()
    memory.update(features, targets)
    expected = updated_by_loops(before, features, targets, momentum)
    torch.testing.assert_close(memory.prototypes, expected)
    for absent in (1, 4):
        assert torch.equal(memory.prototypes[absent], before[absent])
    if momentum == 1:
        torch.testing.assert_close(memory.prototypes, before)
    lengths = memory.prototypes.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(N, dtype=torch.float64))


def test_update_without_momentum_is_the_hardest_feature_itself():
    memory = memory_of(0.0)
    features = features_of(3)
    memory.update(features, torch.tensor([1, 2, 1]))
    cosines = F.normalize(features[[0, 2]], dim=1) @ memory_of().prototypes[1]
    hardest = features[[0, 2]][cosines.argmin()]
    torch.testing.assert_close(memory.prototypes[1], F.normalize(hardest, dim=0))


def test_update_takes_the_first_of_equally_dissimilar_features():
    memory = PrototypeMemory(2, 3, momentum=0.0)
    memory.prototypes.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    rows = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, -1.0]])
    memory.update(rows, torch.tensor([0, 0, 0, 1, 1]))
    assert memory.prototypes.tolist() == [[0, 0, 1], [0, 0, 1]]


def test_update_is_without_gradient_and_a_buffer_of_the_checkpoint():
    memory = PrototypeMemory(N, D)
    memory.rebuild(features_of(N).float().requires_grad_(), torch.arange(N))
    memory.update(features_of(3).float().requires_grad_(), torch.arange(3))
    assert not memory.prototypes.requires_grad
    assert memory.state_dict().keys() == {"prototypes"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_memory_takes_half_features_in_float32(dtype):
    half = (100 * features_of(12)).to(dtype)
    targets = torch.arange(12) % N
    found = PrototypeMemory(N, D)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found.rebuild(half, targets)
        found.update(half[:3], targets[:3])
    expected = PrototypeMemory(N, D)
    expected.rebuild(half.float(), targets)
    expected.update(half[:3].float(), targets[:3])
    assert torch.equal(found.prototypes, expected.prototypes)


@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_prototype_contrast_equals_cross_entropy_by_hand(temperature):
    features = features_of(5)
    prototypes = memory_of().prototypes
    targets = torch.tensor([0, 3, 5, 3, 1])
    total = 0.0
    for feature, target in zip(features, targets.tolist(), strict=True):
        row = unit(feature.tolist())
        scores = [dot(row, prototype.tolist()) / temperature for prototype in prototypes]
        highest = max(scores)
        partition = sum(math.exp(score - highest) for score in scores)
        total += highest + math.log(partition) - scores[target]
    found = prototype_contrast_loss(features, prototypes, targets, temperature)
    assert float(found) == pytest.approx(total / 5)


def test_prototype_contrast_of_equal_prototypes_is_log_n():
    prototypes = torch.full((N, D), 0.5)
    loss = prototype_contrast_loss(torch.randn(3, D), prototypes, torch.arange(3), 0.3)
    assert float(loss) == pytest.approx(math.log(N))


def test_prototype_contrast_gradcheck():
    targets = torch.tensor([0, 3, 3])
    prototypes = memory_of().prototypes
    features = features_of(3).requires_grad_()
    torch.autograd.gradcheck(
        lambda rows: prototype_contrast_loss(rows, prototypes, targets, 0.2), features
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_prototype_contrast_of_half_precision_is_computed_in_float32(dtype):
    features = (1000 * features_of(4)).to(dtype).requires_grad_()
    prototypes = memory_of().prototypes.float()
    targets = torch.arange(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = prototype_contrast_loss(features, prototypes, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, prototype_contrast_loss(features.float(), prototypes, targets))
    loss.backward()
    assert features.grad.isfinite().all()


def test_prototype_contrast_refuses_other_shapes():
    expected = r"features \(B, D\) and prototypes \(N, D\), got \(2, 4\) and \(6, 3\)"
    with pytest.raises(ValueError, match=expected):
        prototype_contrast_loss(torch.zeros(2, 4), torch.zeros(6, 3), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"got \(4,\) and \(6, 4\)"):
        prototype_contrast_loss(torch.zeros(4), torch.zeros(6, 4), torch.zeros(1).long())


def update_in_a_process(store: str, rank: int, answers: "multiprocessing.Queue") -> None:
    """Update a memory with every other row of a batch, as one of two processes."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    memory = memory_of()
    features, targets = shared_batch()
    memory.update(features[4 * rank :][:4], targets[4 * rank :][:4])
    answers.put((rank, memory.prototypes.tolist()))
    dist.destroy_process_group()


def shared_batch() -> tuple[Tensor, Tensor]:
    """Build a batch in which both halves have images of identity 2."""
    return features_of(8, seed=5), torch.tensor([2, 2, 0, 0, 2, 2, 4, 4])


def test_update_of_two_processes_is_that_of_one_with_the_joint_batch(tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [
        context.Process(
            target=update_in_a_process, args=(tmp_path / "store", rank, answers), daemon=True
        )
        for rank in (0, 1)
    ]
    for child in children:
        child.start()
    found = dict(answers.get(timeout=60) for _ in children)
    for child in children:
        child.join(timeout=60)
    alone = memory_of()
    alone.update(*shared_batch())
    assert found[0] == found[1]
    assert found[0] == alone.prototypes.tolist()
    half = memory_of()
    half.update(*(rows[:4] for rows in shared_batch()))
    assert not torch.equal(half.prototypes, alone.prototypes)
