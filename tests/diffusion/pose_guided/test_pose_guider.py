"""Pose guider: zero at the start, trainable, three readings, ControlNet's weights, bad input."""

import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

from fastreid_ext.diffusion.pose_guided.pose_guider import COMBINATIONS, PoseGuider, widths_for


def maps(rows=2):
    return torch.rand(rows, 7, 32, 16, generator=torch.Generator().manual_seed(0))


def guider(combine="concat"):
    torch.manual_seed(0)
    return PoseGuider(widths=(4, 8, 8), out_channels=16, combine=combine)


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_guider_is_zero_at_the_start(combine):
    found = guider(combine)(maps())
    assert found.shape == (2, 16, 8, 4)
    assert not found.any()


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_guider_learns_from_zero(combine):
    """The zero layer gets a gradient at once, and everything before it after one step."""
    model = guider(combine)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.rand(2, 16, 8, 4)
    for step in range(2):
        optimizer.zero_grad()
        (model(maps()) - target).square().mean().backward()
        if step == 0:
            last = model.projection or model.guiders[0].conv_out
            assert last.weight.grad.any()
        optimizer.step()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_combined_guiders_equal_single_ones():
    model = guider("sum")
    for one in model.guiders:
        one.conv_out.reset_parameters()
    depth, normal, skeleton = maps().split([1, 3, 3], dim=1)
    first, second, third = model.guiders
    torch.testing.assert_close(model(maps()), first(depth) + second(normal) + third(skeleton))


def test_a_concatenation_with_equal_weights_is_a_sum():
    """The projection of "concat" contains "sum", so it can learn what "sum" can."""
    model = guider("concat")
    eye = torch.eye(16)[:, :, None, None]
    with torch.no_grad():
        model.projection.weight.copy_(torch.cat([eye, eye, eye], dim=1))
    parts = zip(model.guiders, maps().split([1, 3, 3], dim=1), strict=True)
    expected = sum(one(part) for one, part in parts)
    torch.testing.assert_close(model(maps()), expected)


def test_weights_of_a_controlnet_are_taken_except_the_last():
    torch.manual_seed(1)
    embedding = ControlNetConditioningEmbedding(16, 3, (4, 8, 8))
    model = guider("sum")
    model.start_from_controlnet(embedding.state_dict())
    depth, normal, _ = model.guiders
    assert torch.equal(normal.conv_in.weight, embedding.conv_in.weight)
    # A map of one channel counts as grey.
    grey = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(depth.conv_in(grey), embedding.conv_in(grey.expand(-1, 3, -1, -1)))
    assert not model(maps()).any()


def test_weights_of_another_controlnet_are_refused():
    embedding = ControlNetConditioningEmbedding(16, 3, (4, 8, 16))
    with pytest.raises(ValueError, match=r"conv_out|blocks.*widths \[4, 8, 8\]"):
        guider("sum").start_from_controlnet(embedding.state_dict())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 6, 32, 16), r"conditions \(B, 7, H, W\) of depth \(1\), normal \(3\), skeleton \(3\)"),
        ((2, 7, 30, 16), r"multiples of 4, got \[30, 16\]"),
    ],
)
def test_maps_of_another_shape_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        guider()(torch.rand(shape))


def test_unknown_readings_are_refused():
    with pytest.raises(ValueError, match="by concat, sum, joint, got 'mean'"):
        PoseGuider(combine="mean")
    with pytest.raises(ValueError, match="a number of channels for each condition"):
        PoseGuider(conditions=("depth",), channels=(1, 3))


def test_widths_fit_the_latents():
    assert widths_for(8) == (16, 32, 96, 256)
    assert PoseGuider(widths=widths_for(4), out_channels=8).stride == 4
    with pytest.raises(ValueError, match="2, 4 or 8 pixels per latent, got 16"):
        widths_for(16)
