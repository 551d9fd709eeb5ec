"""Cross-attention to one token, held against diffusers' own attention in float64."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from fastreid_ext.diffusion.single_token import SingleTokenAttention, attend_to_single_tokens
from fastreid_ext.diffusion.stable_diffusion import read_part
from fastreid_ext.modeling.diffusion_branch.trained_parts import train_parts

CLOSE = {"rtol": 1e-11, "atol": 1e-13}


@pytest.fixture
def unet(tiny_pipeline_folder) -> UNet2DConditionModel:
    return read_part(UNet2DConditionModel, tiny_pipeline_folder / "unet", torch.float64)


def in_mode(unet: UNet2DConditionModel, mode: str) -> UNet2DConditionModel:
    """Train the part of a mode in float64, with adapters that are not zero."""
    torch.manual_seed(0)
    train_parts(unet, mode, rank=2)
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return unet.double()


def results(unet: UNet2DConditionModel) -> dict[str, Tensor | None]:
    """Compute the prediction for two latents, and the gradients of all parameters and inputs."""
    generator = torch.Generator().manual_seed(1)
    double = {"dtype": torch.float64, "generator": generator}
    noisy = torch.randn(2, 4, 8, 4, **double).requires_grad_()
    width = unet.config.cross_attention_dim
    context = torch.randn(2, 1, width, **double).requires_grad_()
    weights = torch.randn(2, 4, 8, 4, **double)
    predicted = unet(noisy, torch.tensor([3, 700]), context).sample
    (predicted * weights).sum().backward()
    gradients = {name: p.grad for name, p in unet.named_parameters()}
    inputs = {"noisy": noisy.grad, "context": context.grad}
    return {"predicted": predicted.detach(), **inputs, **gradients}


def has_no_influence(name: str) -> bool:
    """Tell whether a parameter is of a query, of a key, or of the normalisation before them."""
    in_block = name.partition(".transformer_blocks.")[2].partition(".")[2]
    return in_block.startswith(("attn2.to_q.", "attn2.to_k.", "norm2."))


@pytest.mark.parametrize("mode", ["lora", "partial1", "full"])
def test_single_token_unet_equals_that_of_diffusers(unet, mode):
    plain = in_mode(unet, mode)
    short = copy.deepcopy(plain)
    attend_to_single_tokens(short)
    expected = results(plain)
    found = results(short)
    assert found.keys() == expected.keys()
    trained = {name for name, p in plain.named_parameters() if p.requires_grad}
    for name in {"predicted", "noisy", "context"} | trained:
        torch.testing.assert_close(found[name], expected[name], **CLOSE, msg=name)
    unused = {name for name in trained if has_no_influence(name)}
    assert len(unused) > 0
    for name in unused:
        assert not found[name].any(), name  # and zero but for rounding without the short way
    assert all(found[name].any() for name in ("predicted", "noisy", "context"))
    assert any(found[name].any() for name in trained if "attn2.to_v" in name)


@pytest.mark.parametrize("mode", ["lora", "partial1", "full"])
def test_single_token_unet_gives_a_gradient_to_every_trained_parameter_and_no_other(unet, mode):
    """Else DistributedDataParallel, which is not told to look for them, would stop."""
    attend_to_single_tokens(in_mode(unet, mode))
    found = results(unet)
    for name, parameter in unet.named_parameters():
        assert (found[name] is not None) == parameter.requires_grad, name


def test_single_token_processor_replaces_cross_attention_alone(unet):
    before = dict(unet.attn_processors)
    attend_to_single_tokens(unet)
    replaced = {
        name
        for name, processor in unet.attn_processors.items()
        if isinstance(processor, SingleTokenAttention)
    }
    assert replaced == {name for name in before if ".attn2." in name}
    assert 0 < len(replaced) < len(before)


def test_single_token_unet_of_a_copy_has_its_own_layers(unet):
    attend_to_single_tokens(unet)
    twin = copy.deepcopy(unet)
    block = twin.down_blocks[0].attentions[0].transformer_blocks[0]
    assert block.attn2.processor._norm is block.norm2


def test_single_token_attention_in_half_precision_is_near_float32(unet):
    noisy = torch.randn(2, 4, 8, 4)
    context = torch.randn(2, 1, unet.config.cross_attention_dim)
    unet.float()
    attend_to_single_tokens(unet)
    steps = torch.tensor([3, 700])
    expected = unet(noisy, steps, context).sample
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = unet(noisy, steps, context).sample
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


def cross_attention(**options: object) -> Attention:
    attention = Attention(query_dim=4, cross_attention_dim=6, heads=2, dim_head=2, **options)
    attention.set_processor(SingleTokenAttention())
    return attention


@pytest.mark.parametrize("tokens", [0, 2, 77])
def test_single_token_attention_refuses_another_number_of_tokens(tokens):
    expected = rf"context of one token, got {tokens}; .*SINGLE_TOKEN_ATTENTION False"
    with pytest.raises(ValueError, match=expected):
        cross_attention()(torch.rand(3, 10, 4), encoder_hidden_states=torch.rand(3, tokens, 6))


def test_single_token_attention_refuses_no_context():
    with pytest.raises(ValueError, match="context of one token, got none"):
        cross_attention()(torch.rand(3, 10, 4))


@pytest.mark.parametrize(
    "options",
    [
        {"norm_num_groups": 2},
        {"cross_attention_norm": "layer_norm"},
        {"qk_norm": "layer_norm"},
        {"residual_connection": True},
        {"rescale_output_factor": 2.0},
    ],
)
def test_single_token_attention_refuses_what_it_would_leave_out(options):
    with pytest.raises(ValueError, match="norms or a residual of its own; set MODEL"):
        cross_attention(**options)(torch.rand(3, 10, 4), encoder_hidden_states=torch.rand(3, 1, 6))
