"""The denoising loss of the branch, written again with diffusers' parts; dtypes and gradients."""

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from fastreid_ext.diffusion import sd15
from fastreid_ext.diffusion.noising import NoiseSchedule
from fastreid_ext.diffusion.single_token import attend_to_single_tokens
from fastreid_ext.diffusion.stable_diffusion import read_base, read_part
from fastreid_ext.diffusion.tiny.models import build_scheduler
from fastreid_ext.modeling.diffusion_branch.bottlenecks import build_bottleneck
from fastreid_ext.modeling.diffusion_branch.branch import DiffusionBranch
from fastreid_ext.modeling.diffusion_branch.conditions import CorrelationCondition

B = 3
STEPS = 1000


def batch(identities: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sample logits, features, targets and latents."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(B, identities, generator=generator)
    features = torch.randn(B, 6, generator=generator)
    latents = torch.randn(B, 2, 4, 8, 4, generator=generator)
    latents[:, 1] = latents[:, 1].abs()
    return logits, features, torch.tensor([4, 0, 4]), latents


def loss_of(branch: DiffusionBranch, *given: Tensor, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    return branch(*given)


def inputs_of_unet(branch: DiffusionBranch) -> dict[str, Tensor]:
    """Return a mapping that the next pass fills with the inputs of the U-Net."""
    seen: dict[str, Tensor] = {}

    def remember(unet: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.update(noisy=args[0], steps=args[1], context=kwargs["encoder_hidden_states"])

    branch.unet.register_forward_pre_hook(remember, with_kwargs=True)
    return seen


@pytest.mark.parametrize("is_short", [False, True])
def test_branch_loss_equals_the_formula_with_diffusers_scheduler(make_branch, read_unet, is_short):
    branch = make_branch("frozen")
    if is_short:
        attend_to_single_tokens(branch.unet)
    logits, features, targets, latents = batch()
    found = loss_of(branch, logits, features, targets, latents)

    torch.manual_seed(3)
    clean = latents[:, 0] + latents[:, 1] * torch.randn(B, 4, 8, 4)
    steps = torch.randint(STEPS, (B,))
    noise = torch.randn(B, 4, 8, 4)
    noisy = DDPMScheduler.from_config(build_scheduler().config).add_noise(clean, noise, steps)
    context = logits.softmax(dim=1) @ branch.condition.prompts
    predicted = read_unet()(noisy, steps, context.reshape(B, 1, -1)).sample
    torch.testing.assert_close(found, F.mse_loss(predicted, noise))
    assert found.dtype == torch.float32


def test_branch_samples_new_noise_and_steps_at_every_call(make_branch):
    branch = make_branch("frozen")
    seen = inputs_of_unet(branch)
    many = [value.repeat(100, *[1] * (value.ndim - 1)) for value in batch()]
    found = []
    for _ in range(2):
        branch(*many)
        found.append(dict(seen))
    steps = found[0]["steps"]
    assert steps.shape == (100 * B,)
    assert 0 <= steps.min() < 30
    assert STEPS - 30 < steps.max() < STEPS
    assert len(set(steps.tolist())) > 200
    assert not torch.equal(steps, found[1]["steps"])
    assert not torch.equal(found[0]["noisy"], found[1]["noisy"])


def test_branch_with_the_target_latent_gives_the_unet_nothing_but_the_condition(make_branch):
    branch = make_branch("frozen", target="latent")
    seen = inputs_of_unet(branch)
    logits, features, targets, latents = batch()
    found = loss_of(branch, logits, features, targets, latents)
    assert not seen["noisy"].any()
    assert seen["steps"].tolist() == [STEPS - 1] * B
    torch.manual_seed(3)
    clean = latents[:, 0] + latents[:, 1] * torch.randn(B, 4, 8, 4)
    predicted = branch.unet(seen["noisy"], seen["steps"], encoder_hidden_states=seen["context"])
    torch.testing.assert_close(found, F.mse_loss(predicted.sample, clean))


def test_condition_reaches_stable_diffusion_as_one_token_of_768():
    with torch.device("meta"):
        branch = DiffusionBranch(
            unet=UNet2DConditionModel.from_config(dict(sd15.UNET)),
            condition=CorrelationCondition(751, 768, 0.6),
            bottleneck=build_bottleneck("condition_net", 768),
            schedule=NoiseSchedule(torch.rand(STEPS), "epsilon"),
        )
    seen = inputs_of_unet(branch)
    given = (torch.zeros(B, 751), torch.zeros(B, 512), torch.zeros(B), torch.zeros(B, 2, 4, 16, 16))
    loss = branch(*(value.to("meta") for value in given))
    assert seen["context"].shape == (B, 1, 768)
    assert seen["noisy"].shape == (B, 4, 16, 16)
    assert loss.shape == ()


def test_bottleneck_lies_between_condition_and_unet(make_branch):
    branch = make_branch("frozen", bottleneck=build_bottleneck("bn_silu", 32))
    seen = inputs_of_unet(branch)
    logits, features, targets, latents = batch()
    branch(logits, features, targets, latents)
    mixed = logits.softmax(dim=1) @ branch.condition.prompts
    deviation = mixed.var(dim=0, unbiased=False).add(1e-5).sqrt()
    expected = F.silu((mixed - mixed.mean(dim=0)) / deviation)
    torch.testing.assert_close(seen["context"], expected.reshape(B, 1, 32))


@pytest.mark.parametrize("mode", ["frozen", "lora", "full"])
def test_branch_with_half_frozen_weights_is_near_float32(make_branch, mode):
    half = make_branch(mode, torch.bfloat16)
    seen = inputs_of_unet(half)
    found = loss_of(half, *batch())
    found.backward()
    expected = loss_of(make_branch(mode), *batch())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)
    whole = mode == "full"  # nothing is frozen, so that all is float32
    assert seen["context"].dtype == (torch.float32 if whole else torch.bfloat16)
    trained = [p for p in half.parameters() if p.requires_grad]
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in trained)
    assert all(p.grad.isfinite().all() for p in trained)


def test_branch_in_float16_that_overflows_has_no_finite_loss(make_branch):
    branch = make_branch("frozen", torch.float16)
    with torch.no_grad():
        branch.unet.conv_out.weight.fill_(6e4)
    assert not loss_of(branch, *batch()).isfinite()


@pytest.mark.parametrize(
    ("mode", "is_short"),
    [("frozen", True), ("lora", False), ("lora", True), ("partial1", True), ("full", True)],
)
def test_branch_trains_prompts_and_chosen_weights_alone(make_branch, mode, is_short):
    branch = make_branch(mode)
    if is_short:
        attend_to_single_tokens(branch.unet)
    logits, features, targets, latents = batch()
    logits.requires_grad_()
    loss_of(branch, logits, features, targets, latents).backward()
    assert logits.grad.any()
    assert branch.condition.prompts.grad.any()
    for name, parameter in branch.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.grad is not None and ("attn2.to_q" in name or "attn2.to_k" in name):
            assert parameter.grad.abs().max() < 1e-9, name
    values = [p.grad for name, p in branch.unet.named_parameters() if p.requires_grad]
    assert mode == "frozen" or sum(bool(gradient.any()) for gradient in values) > 10


def test_latents_of_a_branch_are_those_of_the_pipeline(make_branch, tiny_pipeline_folder):
    vae = read_part(AutoencoderKL, tiny_pipeline_folder / "vae", torch.float32)
    branch = make_branch("frozen", autoencoder=vae)
    images = torch.randint(0, 256, (B, 3, 32, 16), generator=torch.Generator().manual_seed(0))
    base = read_base(
        tiny_pipeline_folder, name="tiny", device=torch.device("cpu"), dtype=torch.float32
    )
    mean, std = base.encode_posterior(images.to(torch.uint8))
    found = branch.latents_of(images.float())  # as batches hold them
    assert found.shape == (B, 2, 4, 8, 4)
    assert torch.equal(found[:, 0], mean)
    assert torch.equal(found[:, 1], std)


def test_branch_without_an_autoencoder_needs_latents(make_branch):
    with pytest.raises(ValueError, match=r"with 'latents' from MODEL\.DIFFUSION\.LATENT_CACHE"):
        make_branch("frozen").latents_of(torch.zeros(B, 3, 32, 16))


def test_branch_refuses_latents_of_another_number_of_channels(make_branch):
    logits, features, targets, _ = batch()
    with pytest.raises(RuntimeError, match="4 channels"):
        make_branch("frozen")(logits, features, targets, torch.zeros(B, 2, 3, 8, 4))
