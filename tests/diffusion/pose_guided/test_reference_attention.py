"""Reference attention: equal to concatenating and keeping half, and to loops; mistakes."""

import math

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from fastreid_ext.diffusion.pose_guided.reference_attention import (
    ReferenceAttention,
    attend_to_reference,
    expect_equal_blocks,
    read_references,
    transformer_blocks,
)
from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided


def attention(heads=2):
    torch.manual_seed(0)
    return Attention(query_dim=8, heads=heads, dim_head=4).double()


def tokens(rows, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, count, 8, generator=generator, dtype=torch.float64)


def test_reference_attention_equals_concatenating_and_keeping_the_first_half():
    layer = attention()
    own = tokens(3, 10)
    reference = tokens(3, 10, seed=1)
    whole = AttnProcessor2_0()(layer, torch.cat([own, reference], dim=1))
    found = attend_to_reference(layer, own, reference)
    torch.testing.assert_close(found, whole[:, :10])


def test_reference_attention_equals_loops():
    layer = attention()
    own = tokens(2, 5)
    reference = tokens(2, 3, seed=1)
    expected = torch.zeros_like(own)
    for row in range(2):
        everything = torch.cat([own[row], reference[row]])
        for place in range(5):
            query = layer.to_q(own[row, place]).view(2, 4)
            heads = []
            for head in range(2):
                scores = []
                values = []
                for token in everything:
                    key = layer.to_k(token).view(2, 4)[head]
                    scores.append(math.exp((query[head] @ key).item() / 2))
                    values.append(layer.to_v(token).view(2, 4)[head])
                total = sum(scores)
                heads.append(sum(s / total * v for s, v in zip(scores, values, strict=True)))
            expected[row, place] = layer.to_out[0](torch.cat(heads))
    torch.testing.assert_close(attend_to_reference(layer, own, reference), expected)


def test_an_empty_reference_is_plain_attention():
    layer = attention()
    own = tokens(3, 10)
    plain = AttnProcessor2_0()(layer, own)
    processor = ReferenceAttention("block")
    assert torch.equal(processor(layer, own), plain)
    assert torch.equal(processor(layer, own, reference={"block": own[:0]}), plain)
    assert torch.equal(processor(layer, own, reference={"block": own[:, :0]}), plain)


def test_the_first_rows_attend_to_themselves_alone():
    layer = attention()
    own = tokens(4, 6)
    reference = tokens(2, 6, seed=1)
    found = ReferenceAttention("block")(layer, own, reference={"block": reference})
    torch.testing.assert_close(found[:2], AttnProcessor2_0()(layer, own[:2]))
    torch.testing.assert_close(found[2:], attend_to_reference(layer, own[2:], reference))


def test_attention_goes_where_a_planted_token_fits():
    """With projections that copy, a query that equals one reference token takes its value."""
    layer = Attention(query_dim=8, heads=1, dim_head=8).double()
    for projection in (layer.to_q, layer.to_k, layer.to_v, layer.to_out[0]):
        torch.nn.init.eye_(projection.weight)
    torch.nn.init.zeros_(layer.to_out[0].bias)
    own = 100 * torch.eye(8, dtype=torch.float64)[None, :1]
    reference = 100 * torch.eye(8, dtype=torch.float64)[None, 1:4]
    reference[0, 2, 0] = 200.0  # fits the query twice as well as the query itself
    found = attend_to_reference(layer, own, reference)
    torch.testing.assert_close(found[0, 0], reference[0, 2])


def test_captured_features_are_those_of_the_first_pass():
    layer = attention()
    processor = ReferenceAttention("block")
    captured = {}
    own = tokens(1, 4)
    processor(layer, own, captured=captured)
    processor(layer, own + 1, captured=captured)
    assert captured["block"] is own


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"other": torch.zeros(1, 2, 8)}, "features of the block block, got those of other"),
        ({"block": torch.zeros(4, 2, 8)}, r"features \(R <= 3, M, 8\) for block, got \(4, 2, 8\)"),
        ({"block": torch.zeros(1, 2, 4)}, r"features \(R <= 3, M, 8\) for block, got \(1, 2, 4\)"),
    ],
)
def test_features_of_another_network_are_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        ReferenceAttention("block")(attention(), tokens(3, 10), reference=reference)


def test_a_mask_beside_a_reference_is_refused():
    own = tokens(1, 4)
    mask = torch.zeros(1, 1, 4)
    with pytest.raises(ValueError, match="no attention mask with a reference; leave it out"):
        ReferenceAttention("block")(attention(), own, attention_mask=mask, reference={"block": own})


def test_unets_of_another_make_are_refused():
    sizes = {"block_out_channels": (16, 16), "norm_num_groups": 4, "cross_attention_dim": 16}
    plain = UNet2DConditionModel(
        **sizes,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        mid_block_type="UNetMidBlock2D",
    )
    with pytest.raises(ValueError, match="with transformer blocks, got one without; choose a Stab"):
        read_references(plain)
    crossing = UNet2DConditionModel(
        **sizes,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        only_cross_attention=True,
    )
    with pytest.raises(ValueError, match=r"self-attention of Stable Diffusion v1 and v2 in down_b"):
        read_references(crossing)


def test_every_transformer_block_reads_references():
    pipeline = tiny_pose_guided()
    blocks = transformer_blocks(pipeline.unet)
    assert len(blocks) == 7  # two levels: one a block down, one in the middle, two a block up
    assert {block.attn1.processor.name for block in blocks.values()} == set(blocks)


def test_replaced_attention_is_refused():
    pipeline = tiny_pose_guided()
    pipeline.unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(ValueError, match="got AttnProcessor2_0; attention slicing"):
        expect_equal_blocks(pipeline.unet, pipeline.reference_unet)
