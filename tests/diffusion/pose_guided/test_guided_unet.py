"""Guided U-Nets: unchanged without guidance, gradients, frozen parameters, mistakes."""

import copy

import pytest
import torch

from fastreid_ext.diffusion.pose_guided.guided_unet import (
    freeze_unread,
    guided_unet,
    predict,
    reference_features,
)
from fastreid_ext.diffusion.tiny.models import seeded
from fastreid_ext.diffusion.tiny.pose_guided import build_generator_unet, tiny_pose_guided
from fastreid_ext.diffusion.tiny.sizes import TEST


def plain_unet():
    with seeded(1):
        return build_generator_unet(TEST, latent_channels=4, context_width=16)


def inputs(rows=2):
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(rows, 4, 8, 4, generator=generator)
    context = torch.randn(rows, 1, 16, generator=generator)
    return noisy, torch.tensor([3, 700])[:rows], context


@pytest.mark.parametrize("combine", ["concat", "sum", "joint"])
def test_the_generator_starts_as_stable_diffusion(combine):
    """Guidance is zero, and without a reference nothing else differs."""
    pipeline = tiny_pose_guided(combine=combine)
    noisy, steps, context = inputs()
    expected = plain_unet()(noisy, steps, context).sample
    guidance = pipeline.pose_guider(torch.rand(2, 7, 32, 16))
    found = predict(pipeline.unet, noisy, steps, context, guidance)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("combine", ["concat", "sum", "joint"])
def test_the_first_gradient_reaches_the_zero_layers(combine):
    """The U-Net is not deaf to a guidance of zero; everything before the zero layers waits."""
    pipeline = tiny_pose_guided(combine=combine)
    noisy, steps, context = inputs()
    guidance = pipeline.pose_guider(torch.rand(2, 7, 32, 16))
    predict(pipeline.unet, noisy, steps, context, guidance).square().mean().backward()
    grads = {name: p.grad for name, p in pipeline.pose_guider.named_parameters()}
    zero = {name for name, p in pipeline.pose_guider.named_parameters() if not p.any()}
    zero_weights = {name for name in zero if name.endswith("weight")}
    assert len(zero_weights) == {"concat": 1, "sum": 3, "joint": 1}[combine]
    assert {name for name, grad in grads.items() if grad.any()} == zero


def test_guidance_is_added_after_the_first_convolution():
    unet = guided_unet(plain_unet())
    noisy, steps, context = inputs()
    guidance = torch.rand(2, 16, 8, 4)
    shifted = plain_unet()
    shifted.conv_in.register_forward_hook(lambda module, args, output: output + guidance)
    expected = shifted(noisy, steps, context).sample
    torch.testing.assert_close(
        predict(unet, noisy, steps, context, guidance), expected, rtol=1e-5, atol=1e-6
    )


def test_names_of_parameters_stay_and_a_second_call_does_nothing():
    unet = plain_unet()
    before = list(unet.state_dict())
    guided = guided_unet(guided_unet(unet))
    assert guided is unet
    assert list(guided.state_dict()) == before


def test_references_change_the_prediction_of_their_rows_alone():
    pipeline = tiny_pose_guided()
    noisy, steps, context = inputs()
    features = reference_features(pipeline.reference_unet, noisy[:1] + 1, context[:1])
    plain = predict(pipeline.unet, noisy, steps, context)
    found = predict(pipeline.unet, noisy, steps, context, reference=features)
    torch.testing.assert_close(found[0], plain[0], rtol=1e-5, atol=1e-6)
    assert (found[1] - plain[1]).abs().max() > 1e-4


def gradients(pipeline):
    noisy, steps, context = inputs()
    features = reference_features(pipeline.reference_unet, noisy + 1, context)
    predict(pipeline.unet, noisy, steps, context, reference=features).square().mean().backward()
    return {name: p.grad for name, p in pipeline.reference_unet.named_parameters()}


def test_frozen_parameters_are_exactly_those_without_influence():
    pipeline = tiny_pose_guided()
    grads = gradients(pipeline)
    frozen = set(freeze_unread(pipeline.reference_unet, is_reference=True))
    without = {name for name, grad in grads.items() if grad is None or not grad.any()}
    assert frozen <= without
    assert {name for name in without if grads[name] is None} <= frozen
    own = set(freeze_unread(pipeline.unet))
    assert own
    assert all(".attn2.to_" in name or ".norm2." in name for name in own)


def test_gradient_checkpointing_gives_the_same_gradients():
    expected = gradients(tiny_pose_guided())
    pipeline = tiny_pose_guided()
    for unet in (pipeline.unet, pipeline.reference_unet):
        unet.enable_gradient_checkpointing()
        unet.train()
    found = gradients(pipeline)
    for name, grad in expected.items():
        if grad is not None:
            torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-7)


def test_a_batch_without_references_gives_gradients_of_zero():
    """DistributedDataParallel needs a gradient for every parameter in every step."""
    pipeline = tiny_pose_guided()
    freeze_unread(pipeline.reference_unet, is_reference=True)
    noisy, steps, context = inputs()
    features = reference_features(pipeline.reference_unet, noisy, context)
    nothing = {name: tokens[:0] for name, tokens in features.items()}
    predict(pipeline.unet, noisy, steps, context, reference=nothing).sum().backward()
    trained = [p for p in pipeline.reference_unet.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and not p.grad.any() for p in trained)


def test_two_networks_do_not_disturb_each_other():
    """A copy that samples between two passes of another changes nothing."""
    first = tiny_pose_guided()
    noisy, steps, context = inputs()
    features = reference_features(first.reference_unet, noisy, context)
    expected = predict(first.unet, noisy, steps, context, reference=features)
    second = copy.deepcopy(first)
    predict(second.unet, noisy + 5, steps, context)
    reference_features(second.reference_unet, noisy + 5, context)
    assert torch.equal(predict(first.unet, noisy, steps, context, reference=features), expected)


def test_guidance_of_another_size_is_refused():
    pipeline = tiny_pose_guided()
    noisy, steps, context = inputs()
    with pytest.raises(ValueError, match=r"guidance of the latents' rows and size.*must have the"):
        predict(pipeline.unet, noisy, steps, context, torch.zeros(2, 16, 4, 4))
    with pytest.raises(ValueError, match=r"latents of 4 channels, or 16 channels of guidance"):
        predict(pipeline.unet, noisy, steps, context, torch.zeros(2, 8, 8, 4))


def test_a_plain_network_captures_nothing():
    noisy, _, context = inputs()
    with pytest.raises(ValueError, match="call guided_unet on it first"):
        reference_features(plain_unet(), noisy, context)
