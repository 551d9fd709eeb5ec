"""Maximum mean discrepancy: cases computed by hand, slow loops, symmetry."""

import math

import pytest
import torch

from fastreid_ext.neighbours.discrepancy import median_distance, squared_mmd

FIRST = torch.tensor([[0.0], [2.0]])
SECOND = torch.tensor([[3.0], [5.0]])


def test_two_sets_by_hand():
    assert squared_mmd(FIRST, SECOND, kernel="linear") == 9.0
    assert squared_mmd(FIRST, SECOND, bandwidth=1.0) == pytest.approx(0.82096, abs=5e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_a_set_is_no_distance_from_itself_and_order_does_not_count(kernel):
    torch.manual_seed(0)
    one = torch.randn(7, 3)
    other = torch.randn(9, 3) + 1
    assert squared_mmd(one, one, kernel=kernel) == 0
    there = squared_mmd(one, other, kernel=kernel)
    assert there > 0
    assert squared_mmd(other, one, kernel=kernel) == pytest.approx(there, rel=1e-12)
    assert squared_mmd(one.flip(0), other, kernel=kernel) == pytest.approx(there, rel=1e-12)


def test_gaussian_kernel_equals_slow_loops():
    torch.manual_seed(1)
    sets = (torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64))

    def mean(one, other):
        values = [
            math.exp(-float((a - b).square().sum()) / (2 * 0.7**2)) for a in one for b in other
        ]
        return sum(values) / len(values)

    expected = mean(sets[0], sets[0]) + mean(sets[1], sets[1]) - 2 * mean(*sets)
    assert squared_mmd(*sets, bandwidth=0.7) == pytest.approx(expected, rel=1e-9)


def test_median_distance():
    assert median_distance(torch.zeros(1, 1), torch.tensor([[1.0], [5.0], [2.0]])) == 2.0
