"""Memory of clusters: rules against loops and values worked out by hand; two processes as one."""

import datetime
import math
import multiprocessing

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.modeling.losses import ClusterMemory, prototype_contrast_loss
from fastreid_ext.modeling.losses.cluster_memory import UPDATES

X1 = [0.0, 1.0]
X2 = [0.6, 0.8]
RULES = ["sequential", "hard", "mean"]


def memory_of(rule: str, rows: list[list[float]] | Tensor, momentum: float = 0.1) -> ClusterMemory:
    rows = torch.as_tensor(rows)
    memory = ClusterMemory(len(rows), rows.shape[1], momentum=momentum, rule=rule).to(rows.dtype)
    memory.centroids.copy_(rows)
    return memory


def unit(values: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def blend(old: list[float], new: list[float], momentum: float) -> list[float]:
    return unit([momentum * a + (1 - momentum) * b for a, b in zip(old, new, strict=True)])


def updated_by_loops(
    rows: Tensor, features: Tensor, targets: Tensor, rule: str, momentum: float
) -> Tensor:
    """The rules as the method's text has them, image by image."""
    memory = rows.tolist()
    seen = [(unit(f.tolist()), t) for f, t in zip(features, targets.tolist(), strict=True)]
    if rule == "sequential":
        for feature, target in seen:
            memory[target] = blend(memory[target], feature, momentum)
        return torch.tensor(memory, dtype=rows.dtype)
    for cluster in sorted(set(targets.tolist())):
        own = [feature for feature, target in seen if target == cluster]
        before = memory[cluster]
        if rule == "hard":
            new = min(own, key=lambda f: sum(a * b for a, b in zip(f, before, strict=True)))
        else:
            new = [sum(column) / len(own) for column in zip(*own, strict=True)]
        memory[cluster] = blend(before, new, momentum)
    return torch.tensor(memory, dtype=rows.dtype)


def test_loss_and_gradient_worked_out_by_hand():
    """METHODS: f (1, 0), M (1, 0) and (0, 1), tau 0.5, y 0."""
    feature = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    memory = torch.eye(2, dtype=torch.float64)
    # With respect to the unit feature; the loss normalises, which would project the gradient.
    logits = feature @ memory.T / 0.5
    F.cross_entropy(logits, torch.tensor([0])).backward()
    assert feature.grad[0].tolist() == pytest.approx([-0.238406, 0.238406], abs=1e-6)
    loss = prototype_contrast_loss(feature.detach(), memory, torch.tensor([0]), 0.5)
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)


def test_gradient_is_that_of_the_formula():
    """(1 / tau) sum_k (p_k - [k = y]) M_k, on the unit sphere; the memory has none."""
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(5, 4, dtype=torch.float64, generator=generator), dim=1)
    feature = F.normalize(torch.randn(1, 4, dtype=torch.float64, generator=generator), dim=1)
    feature.requires_grad_(True)
    target = torch.tensor([2])
    prototype_contrast_loss(feature, rows, target, 0.05).backward()
    x = feature.detach()
    p = torch.softmax(x @ rows.T / 0.05, dim=1)
    on_sphere = (p - F.one_hot(target, 5)) @ rows / 0.05
    expected = on_sphere - (on_sphere * x).sum() * x
    torch.testing.assert_close(feature.grad, expected)
    assert not ClusterMemory(5, 4).centroids.requires_grad


def test_uniform_similarities_cost_the_logarithm_of_the_clusters():
    rows = F.normalize(torch.ones(7, 3), dim=1)
    loss = prototype_contrast_loss(torch.rand(4, 3), rows, torch.arange(4), 0.05)
    assert loss.item() == pytest.approx(math.log(7), abs=1e-5)


@pytest.mark.parametrize(
    ("rule", "features", "expected"),
    [
        ("sequential", [X1, X2], (0.558050, 0.829807)),
        ("sequential", [X2, X1], (0.068000, 0.997685)),
        ("hard", [X1, X2], (0.110432, 0.993884)),
        ("mean", [X1, X2], (0.415494, 0.909596)),
    ],
)
def test_updates_worked_out_by_hand(rule, features, expected):
    memory = memory_of(rule, [[1.0, 0.0]])
    memory.update(torch.tensor(features), torch.tensor([0, 0]))
    assert memory.centroids[0].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("rule", RULES)
def test_updates_equal_loops(rule, momentum):
    generator = torch.Generator().manual_seed(1)
    rows = F.normalize(torch.randn(6, 4, dtype=torch.float64, generator=generator), dim=1)
    features = 3 * torch.randn(9, 4, dtype=torch.float64, generator=generator)
    targets = torch.tensor([2, 5, 2, 2, 0, 5, 3, 0, 2])
    memory = memory_of(rule, rows, momentum)
    memory.update(features, targets)
    expected = updated_by_loops(rows, features, targets, rule, momentum)
    torch.testing.assert_close(memory.centroids, expected)
    for absent in (1, 4):
        assert torch.equal(memory.centroids[absent], rows[absent])
    lengths = memory.centroids.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(6, dtype=torch.float64))


def test_rules_are_one_for_one_image_of_each_cluster():
    rows = F.normalize(torch.rand(5, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    features = torch.rand(3, 3, generator=torch.Generator().manual_seed(3))
    found = []
    for rule in UPDATES:
        memory = memory_of(rule, rows)
        memory.update(features, torch.tensor([4, 0, 2]))
        found.append(memory.centroids.clone())
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_random_rule_takes_each_image_at_some_time_and_repeats_under_one_seed():
    features = torch.eye(3)

    def taken() -> int:
        memory = memory_of("random", [[0.1, 0.1, 0.1]], momentum=0.0)
        memory.update(features, torch.zeros(3, dtype=torch.long))
        return int(memory.centroids.argmax())

    torch.manual_seed(0)
    first = [taken() for _ in range(30)]
    torch.manual_seed(0)
    assert [taken() for _ in range(30)] == first
    assert set(first) == {0, 1, 2}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_memory_stays_float32_under_autocast(dtype):
    memory = memory_of("sequential", [[1.0, 0.0]])
    features = torch.tensor([X1, X2]).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory.update(features, torch.tensor([0, 0]))
        loss = prototype_contrast_loss(features, memory.used, torch.tensor([0, 0]), 0.05)
    assert memory.centroids.dtype == loss.dtype == torch.float32
    wanted = updated_by_loops(
        torch.tensor([[1.0, 0.0]]), features.float(), torch.tensor([0, 0]), "sequential", 0.1
    )
    torch.testing.assert_close(memory.centroids, wanted)


def test_fewer_clusters_leave_no_row_of_the_epoch_before():
    memory = ClusterMemory(4, 2)
    memory.begin(torch.eye(2).repeat(2, 1), torch.arange(4))
    assert memory.count == 4
    memory.begin(torch.eye(2).repeat(2, 1), torch.tensor([0, 1, -1, -1]))
    assert torch.equal(memory.used, torch.eye(2))
    assert not memory.centroids[2:].any()


_ROWS = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(5)), dim=1)
_FEATURES = torch.randn(8, 4, generator=torch.Generator().manual_seed(6))
_TARGETS = torch.tensor([0, 0, 2, 2, 0, 1, 1, 2])


def update_in_a_process(store: str, rank: int, rule: str, answers: "multiprocessing.Queue") -> None:
    """Update a memory with one half of a batch, as one of two processes."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    torch.manual_seed(rank)
    memory = memory_of(rule, _ROWS)
    memory.update(_FEATURES.chunk(2)[rank], _TARGETS.chunk(2)[rank])
    answers.put((rank, memory.centroids.tolist()))
    dist.destroy_process_group()


@pytest.mark.parametrize("rule", UPDATES)
def test_two_processes_have_the_memory_of_one(rule, tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [
        context.Process(
            target=update_in_a_process, args=(tmp_path / "store", rank, rule, answers), daemon=True
        )
        for rank in (0, 1)
    ]
    for child in children:
        child.start()
    found = dict(answers.get(timeout=60) for _ in children)
    for child in children:
        child.join(timeout=60)
    assert found[0] == found[1]
    if rule != "random":
        alone = memory_of(rule, _ROWS)
        alone.update(_FEATURES, _TARGETS)
        assert found[0] == alone.centroids.tolist()
