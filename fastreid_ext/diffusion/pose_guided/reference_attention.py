"""Self-attention of a U-Net that also reads the features of a reference image.

In each transformer block the tokens of the denoising U-Net ask, with keys and values of their own
and of the reference U-Net's tokens at the block of the same name [0, 1]. Concatenating both,
attending, and keeping the first half [2] is the same: the other half is thrown away.

Everything goes through ``cross_attention_kwargs`` of the call: ``reference``, the features to read,
and ``captured``, a dictionary for the features that are met. The modules keep nothing, so two
pipelines, or a sampler during a training, do not affect each other.

Letters: B rows of a batch, R <= B rows with a reference, N tokens of the denoising U-Net, M tokens
of the reference, C channels.

[0] Zhang, "Reference-only control", 2023, https://github.com/Mikubill/sd-webui-controlnet
    (discussion 1236)
[1] Hu, "Animate Anyone", CVPR 2024, section 3.2, https://arxiv.org/abs/2311.17117
[2] "Pose-Diversified Augmentation with Diffusion Model for Person Re-Identification", 2024,
    section 3, https://arxiv.org/abs/2406.16042
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from fastreid_ext.diffusion.single_token import (
    SingleTokenAttention,
    attend_to_single_tokens,
    has_further_steps,
)

Features = Mapping[str, Tensor]


class ReferenceAttention:
    """Attention processor of diffusers for the self-attention of one transformer block.

    Without ``reference`` it is diffusers' own processor, to the last bit.

    Example:
        >>> attention = Attention(query_dim=4, heads=2, dim_head=2)
        >>> attention.set_processor(ReferenceAttention("block"))
        >>> attention(torch.rand(3, 10, 4), reference={"block": torch.rand(3, 7, 4)}).shape
        torch.Size([3, 10, 4])

    Args:
        name: name of the transformer block, equal in both U-Nets.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._plain = AttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        reference: Features | None = None,
        captured: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Compute the attention's output (B, N, C).

        Args:
            attn: attention layer that calls this processor.
            hidden_states: (B, N, C) normalised tokens of the block.
            encoder_hidden_states: always None for a self-attention.
            attention_mask: mask of a plain self-attention, refused with a reference.
            temb: time embedding that Stable Diffusion's blocks do not use.
            reference: (R, M, C) features of each block by name, for the last R rows; the first
                B - R rows attend to themselves alone.
            captured: dictionary that receives ``hidden_states`` under the block's name.

        Raises:
            ValueError: the reference lacks this block, or has another width or more rows.
        """
        if captured is not None:
            # The second forward pass of gradient checkpointing must not replace the first one's.
            captured.setdefault(self.name, hidden_states)
        if reference is None:
            return self._plain(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        if attention_mask is not None:
            raise ValueError("expected no attention mask with a reference; leave it out")
        return attend_to_reference(attn, hidden_states, self._own(reference, hidden_states))

    def _own(self, reference: Features, hidden_states: Tensor) -> Tensor:
        """Select the reference's features of this block."""
        if self.name not in reference:
            raise ValueError(
                f"expected features of the block {self.name}, got those of "
                f"{', '.join(reference) or 'none'}; the reference U-Net must be of the same "
                "architecture as the denoising one"
            )
        features = reference[self.name]
        rows, _, width = hidden_states.shape
        if features.ndim != 3 or features.shape[2] != width or features.shape[0] > rows:
            raise ValueError(
                f"expected reference features (R <= {rows}, M, {width}) for {self.name}, got "
                f"{tuple(features.shape)}; give a reference for each row of the batch, or for its "
                "last ones"
            )
        return features


def attend_to_reference(attn: Attention, tokens: Tensor, reference: Tensor) -> Tensor:
    """Attend from tokens to themselves and, in the last R rows, to a reference as well.

    Args:
        attn: self-attention layer with projections of queries, keys, values and output.
        tokens: (B, N, C) normalised tokens, of which queries, keys and values are made.
        reference: (R, M, C) normalised tokens of the reference, further keys and values.

    Returns:
        (B, N, C) output of the attention.
    """
    reference = reference.to(tokens.dtype)
    query = _heads(attn, attn.to_q(tokens))
    key = _heads(attn, attn.to_k(tokens))
    value = _heads(attn, attn.to_v(tokens))
    further_key = _heads(attn, attn.to_k(reference))
    further_value = _heads(attn, attn.to_v(reference))
    alone = len(tokens) - len(reference)
    # Two calls instead of a mask, with which a GPU would lose its fast kernels.
    parts = []
    if alone:
        parts.append(F.scaled_dot_product_attention(query[:alone], key[:alone], value[:alone]))
    parts.append(
        F.scaled_dot_product_attention(
            query[alone:],
            torch.cat([key[alone:], further_key], dim=2),
            torch.cat([value[alone:], further_value], dim=2),
        )
    )
    attended = torch.cat(parts).transpose(1, 2).flatten(2)
    return attn.to_out[1](attn.to_out[0](attended))


class ContextAttention(SingleTokenAttention):
    """Cross-attention to a context of one token that takes no notice of the reference.

    diffusers gives each attention the same arguments, and warns of names that it does not have.
    """

    def __call__(
        self,
        *tensors: Any,
        reference: Features | None = None,
        captured: dict[str, Tensor] | None = None,
        **options: Any,
    ) -> Tensor:
        """Compute the output of :class:`SingleTokenAttention`."""
        return super().__call__(*tensors, **options)


def read_references(unet: UNet2DConditionModel) -> None:
    """Give every transformer block of a U-Net the attention of this module, in place.

    Raises:
        ValueError: the U-Net has no transformer block, or blocks other than Stable Diffusion's.
    """
    blocks = transformer_blocks(unet)
    if not blocks:
        raise ValueError(
            "expected a U-Net with transformer blocks, got one without; choose a Stable Diffusion "
            "model as GENERATION.BASE_MODEL"
        )
    for name, block in blocks.items():
        if block.only_cross_attention or has_further_steps(block.attn1):
            raise ValueError(
                f"expected the self-attention of Stable Diffusion v1 and v2 in {name}, got another "
                "kind; choose another GENERATION.BASE_MODEL"
            )
        block.attn1.set_processor(ReferenceAttention(name))
    attend_to_single_tokens(unet, ContextAttention)


def transformer_blocks(unet: UNet2DConditionModel) -> dict[str, BasicTransformerBlock]:
    """Map names to the transformer blocks of a U-Net."""
    return {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, BasicTransformerBlock)
    }


def expect_equal_blocks(unet: UNet2DConditionModel, reference_unet: UNet2DConditionModel) -> None:
    """Check that blocks of two U-Nets have equal names, widths and contexts, and read references.

    Raises:
        ValueError: the U-Nets differ, or an option of diffusers replaced an attention.
    """
    widths = [_block_widths(one) for one in (unet, reference_unet)]
    if widths[0] != widths[1]:
        differing = sorted(dict(widths[0].items() ^ widths[1].items()))
        raise ValueError(
            f"expected a reference U-Net with the transformer blocks of the denoising U-Net, got "
            f"others, e.g. {differing[0]}; make both from one base model"
        )
    for one in (unet, reference_unet):
        for name, block in transformer_blocks(one).items():
            if not isinstance(block.attn1.processor, ReferenceAttention):
                raise ValueError(
                    f"expected attention that reads references in {name}, got "
                    f"{type(block.attn1.processor).__name__}; attention slicing and other options "
                    "of diffusers replace it, leave them out"
                )


def _block_widths(unet: UNet2DConditionModel) -> dict[str, tuple[int, int]]:
    """Return the widths of tokens and context by name of the block."""
    return {
        name: (block.attn1.query_dim, block.attn2.cross_attention_dim)
        for name, block in transformer_blocks(unet).items()
    }


def _heads(attn: Attention, projected: Tensor) -> Any:
    """Split channels into heads: (B, heads, tokens, channels of a head)."""
    return projected.unflatten(2, (attn.heads, -1)).transpose(1, 2)
