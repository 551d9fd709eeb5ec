"""SpCL's memory and loss: by hand and by slow loops."""

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.modeling.losses import InstanceMemory, instance_contrast_loss


def filled(rows, labels, momentum=0.2):
    memory = InstanceMemory(len(rows), rows.shape[1], momentum=momentum)
    memory.begin(rows, labels)
    return memory


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(9, 5, generator=generator), dim=1)


LABELS = torch.tensor([0, 2, 1, 1, 0, 0, 3, 4, 2])


def test_update_by_hand():
    memory = filled(torch.eye(2), torch.arange(2))
    memory.update(torch.tensor([[0.6, 0.8]]), torch.tensor([0]))
    torch.testing.assert_close(
        memory.features[0], torch.tensor([0.7282, 0.685365]), atol=1e-6, rtol=0
    )
    assert memory.features[1].tolist() == [0, 1]


def test_image_that_comes_twice_moves_twice_in_the_order_of_the_batch(rows):
    memory = filled(rows, LABELS)
    generator = torch.Generator().manual_seed(1)
    features = 3 * torch.randn(4, 5, generator=generator)
    indices = torch.tensor([7, 3, 7, 0])
    expected = rows.clone()
    for feature, index in zip(F.normalize(features, dim=1), indices.tolist(), strict=True):
        expected[index] = F.normalize(0.2 * expected[index] + 0.8 * feature, dim=0)
    memory.update(features, indices)
    torch.testing.assert_close(memory.features, expected)
    untouched = [i for i in range(9) if i not in (0, 3, 7)]
    assert torch.equal(memory.features[untouched], rows[untouched])
    torch.testing.assert_close(memory.features.norm(dim=1), torch.ones(9))


def test_loss_by_hand():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    memory = filled(rows, torch.tensor([0, 0, 1]))
    loss = instance_contrast_loss(rows[:1], memory, torch.tensor([0]), temperature=1.0)
    assert loss.item() == pytest.approx(0.201413, abs=1e-5)


def test_loss_equals_loops_over_the_images_of_each_class(rows):
    memory = filled(rows, LABELS)
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(4, 5, generator=generator).requires_grad_()
    targets = torch.tensor([1, 1, 4, 2])
    total = 0.0
    for feature, target in zip(F.normalize(features, dim=1), targets.tolist(), strict=True):
        scores = []
        for label in range(5):
            members = [i for i in range(9) if LABELS[i] == label]
            scores.append(sum(feature @ rows[i] / 0.05 for i in members) / len(members))
        exponents = torch.stack(scores).exp()
        total = total - (exponents[target] / exponents.sum()).log()
    loss = instance_contrast_loss(features, memory, targets, temperature=0.05)
    torch.testing.assert_close(loss, total / 4, rtol=1e-5, atol=1e-5)
    (expected,) = torch.autograd.grad(total / 4, features)
    (gradient,) = torch.autograd.grad(loss, features)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert not memory.features.requires_grad


def test_images_without_a_class_or_of_another_set_are_refused(rows):
    memory = InstanceMemory(9, 5)
    with pytest.raises(ValueError, match=r"a class for each of the 9 images .* got 8 for 9 images"):
        memory.begin(rows, LABELS.clone().index_fill(0, torch.tensor([4]), -1))
    with pytest.raises(ValueError, match=r"9 images of the memory, got 5 for 5 .*NUM_CLASSES 0"):
        memory.begin(rows[:5], torch.arange(5))


def test_rows_are_part_of_a_checkpoint_and_classes_are_not(rows):
    memory = filled(rows, LABELS)
    assert set(memory.state_dict()) == {"features"}
