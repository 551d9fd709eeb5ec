"""Texture noise: integer hashing, its statistics, and interpolation by hand."""

import numpy as np
import pytest

from fastreid_ext.rendered.noise import cell, cloudy, smooth


def test_noise_stays_between_zero_and_one_and_repeats():
    for function in (smooth, cloudy):
        values = np.array([function(0.37 * k, 0.91 * k, 5) for k in range(-200, 200)])
        assert values.min() >= 0.0
        assert values.max() <= 1.0
        assert values.std() > 0.05
    assert cell(3, -7, 1) == cell(3, -7, 1) != cell(4, -7, 1)


def test_cell_is_uniform_and_neighbours_are_independent():
    grid = np.array([[cell(i, j, 3) for j in range(-40, 40)] for i in range(-40, 40)])
    assert grid.mean() == pytest.approx(0.5, abs=0.015)
    assert grid.var() == pytest.approx(1 / 12, rel=0.05)
    counts = np.histogram(grid, bins=10, range=(0, 1))[0]
    assert ((counts - 640) ** 2 / 640).sum() < 27.9  # chi square, 9 degrees, p = 0.001
    for one, other in ((grid[1:], grid[:-1]), (grid[:, 1:], grid[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05


def test_cell_of_another_salt_is_another():
    values = [[cell(i, 2 * i, salt) for i in range(500)] for salt in (1, 2)]
    assert abs(np.corrcoef(values)[0, 1]) < 0.15


def test_compiled_cell_equals_the_hash_in_integers_without_end():
    """Compiled integers wrap at 64 bits; those of Python do not."""
    for i, j, salt in [(0, 0, 0), (1, 2, 3), (-5, 7, 11), (10**9, -(10**9), 40000), (2**31, 1, 9)]:
        assert cell(i, j, salt) == cell.py_func(i, j, salt)


def test_smooth_meets_the_cells_at_integers():
    for i, j in [(0, 0), (3, -2), (-7, 5)]:
        assert smooth(float(i), float(j), 4) == cell(i, j, 4)


def test_smooth_blends_the_four_cells_around():
    """At a quarter of the way the smoothstep 3 t^2 - 2 t^3 is 10 / 64."""
    corners = [cell(2, -1, 8), cell(3, -1, 8), cell(2, 0, 8), cell(3, 0, 8)]
    share = 10 / 64
    weights = [(1 - share) / 2, share / 2, (1 - share) / 2, share / 2]
    assert smooth(2.25, -0.5, 8) == pytest.approx(np.dot(weights, corners))


def test_smooth_has_no_jump_between_cells():
    at = np.arange(-3, 3, 0.01)
    values = np.array([smooth(u, 0.4, 2) for u in at])
    assert np.abs(np.diff(values)).max() < 1.5 * 0.01 + 1e-6  # smoothstep is steepest with 1.5


def test_cloudy_adds_three_octaves():
    u = 1.3
    v = -0.7
    octaves = [smooth(u, v, 6), smooth(2.1 * u, 2.1 * v, 7), smooth(4.3 * u, 4.3 * v, 8)]
    assert cloudy(u, v, 6) == pytest.approx(np.dot([0.5, 0.3, 0.2], octaves))
