"""Weights of clusters by their cameras: cases computed by hand."""

import pytest
import torch

from fastreid_ext.modeling.losses import camera_diversity_weights, camera_entropies

CAMERAS = torch.tensor([0, 1, 2, 2, 1, 2, 3, 3, 3])
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_entropies_by_hand():
    expected = torch.tensor([1.09861, 0.63651, 0.0], dtype=torch.float64)
    torch.testing.assert_close(camera_entropies(LABELS, CAMERAS), expected, atol=5e-6, rtol=0)


def test_weights_by_hand_fall_with_the_diversity_and_have_a_mean_of_one():
    weights = camera_diversity_weights(LABELS, CAMERAS)
    expected = torch.tensor([1.26480, 1.02959, 0.70561])
    torch.testing.assert_close(weights, expected, atol=5e-6, rtol=0)
    assert weights.mean().item() == pytest.approx(1.0)
    raw = camera_diversity_weights(LABELS, CAMERAS, is_normalised=False)
    torch.testing.assert_close(raw, torch.tensor([1.79248, 1.45915, 1.0]), atol=5e-6, rtol=0)


def test_noise_does_not_count():
    labels = torch.cat([LABELS, torch.tensor([-1, -1])])
    cameras = torch.cat([CAMERAS, torch.tensor([4, 0])])
    expected = camera_diversity_weights(LABELS, CAMERAS)
    assert torch.equal(camera_diversity_weights(labels, cameras), expected)


def test_one_camera_or_no_strength_gives_equal_weights():
    ones = torch.ones(3)
    assert torch.equal(camera_diversity_weights(LABELS, torch.full((9,), 2)), ones)
    assert torch.equal(camera_diversity_weights(LABELS, CAMERAS, strength=0.0), ones)
