"""Modes of training: which parameters, how many of Stable Diffusion 1.5, in which dtype."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from fastreid_ext.diffusion import sd15
from fastreid_ext.modeling.diffusion_branch.trained_parts import MODES, train_parts

# DCAC's comparison of strategies counts these trained parameters, in millions, on Market-1501; the
# Re-ID model and the prompts of 751 identities are 86,512,384 of them.
OUTSIDE = 86_512_384
IN_ALL = {"frozen": 86.51, "partial1": 599.37, "partial2": 696.41, "full": 946.03, "lora": 89.01}


@pytest.fixture(scope="module")
def sd15_unet() -> UNet2DConditionModel:
    """Build the U-Net of Stable Diffusion 1.5 without data; "lora" changes it, so it comes last."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(dict(sd15.UNET))


def trained_names(unet: UNet2DConditionModel) -> set[str]:
    return {name for name, p in unet.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("mode", IN_ALL)
def test_modes_train_as_many_parameters_as_the_paper(sd15_unet, mode):
    train_parts(sd15_unet, mode, rank=8)
    trained = sum(p.numel() for p in sd15_unet.parameters() if p.requires_grad)
    assert (OUTSIDE + trained) / 1e6 == pytest.approx(IN_ALL[mode], abs=0.005)
    if mode == "full":
        assert trained == 859_520_964
    if mode == "lora":
        assert trained == 2_492_928
        # 16 transformer blocks with four layers in each of two attentions, and one further.
        adapted = [name for name, module in sd15_unet.named_modules() if name.endswith("lora_A")]
        assert len(adapted) == 16 * (4 + 4 + 1)


@pytest.mark.parametrize(
    ("mode", "beginnings"),
    [
        ("frozen", ()),
        ("partial1", ("time_embedding.", "up_blocks.", "conv_norm_out.", "conv_out.")),
        (
            "partial2",
            ("time_embedding.", "up_blocks.", "conv_norm_out.", "conv_out.", "mid_block."),
        ),
        ("full", ("",)),
        ("scratch", ("",)),
    ],
)
def test_modes_train_whole_parts(read_unet, mode, beginnings):
    unet = read_unet()
    names = [name for name, _ in unet.named_parameters()]
    train_parts(unet, mode, rank=2)
    assert trained_names(unet) == {name for name in names if name.startswith(beginnings)}
    assert set(MODES) == {*IN_ALL, "scratch"}


def test_lora_trains_two_matrices_in_chosen_layers(read_unet):
    before = {name for name, _ in read_unet().named_parameters()}
    unet = read_unet()
    train_parts(unet, "lora", rank=2)
    names = trained_names(unet)
    assert all(".lora_" in name for name in names)
    layers = {name.split(".lora_")[0] for name in names}
    assert len(names) == 2 * len(layers)
    chosen = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj")
    own = {name.removesuffix(".weight") for name in before if name.endswith(".weight")}
    assert layers == {name for name in own if name.endswith(chosen)}
    assert any("attn1" in name for name in layers)
    assert any("attn2" in name for name in layers)


def test_lora_adds_its_product_over_the_rank_and_starts_at_zero(read_unet):
    unet = read_unet()
    train_parts(unet, "lora", rank=4)
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q
    down = layer.lora_A["default"].weight
    up = layer.lora_B["default"].weight
    assert not up.any()
    assert down.any()
    torch.nn.init.normal_(up)
    rows = torch.randn(3, layer.in_features)
    expected = rows @ layer.base_layer.weight.T + rows @ down.T @ up.T / 4
    torch.testing.assert_close(layer(rows), expected)


@pytest.mark.parametrize("mode", MODES)
def test_trained_parameters_are_float32_beside_frozen_halves(read_unet, mode):
    unet = read_unet(torch.bfloat16)
    train_parts(unet, mode, rank=2)
    for parameter in unet.parameters():
        expected = torch.float32 if parameter.requires_grad else torch.bfloat16
        assert parameter.dtype == expected
