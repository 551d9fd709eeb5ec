"""Cross-attention to a context of one token, without queries and keys.

A softmax over one key is 1 whatever the query, so that the output of the attention is the value of
that token at every place: ``to_out(to_v(context))``. Queries, keys and the normalisation before
them have no influence, and a gradient of exactly zero. Leaving them out saves a norm, two
projections and an attention in each block, and changes nothing but the rounding of a matrix
product.

Letters: B batch, N places of the feature map, C its channels, D channels of the context.
"""

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


def attend_to_single_tokens(
    unet: UNet2DConditionModel, kind: "type[SingleTokenAttention] | None" = None
) -> None:
    """Give the cross-attentions of a U-Net the short way, in place; other layers stay.

    Args:
        unet: U-Net whose context has one token.
        kind: class of the processors; None for :class:`SingleTokenAttention`.
    """
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            # attn1 is the self-attention of the block.
            block.norm2 = _UnusedNorm(block.norm2)
            block.attn2.set_processor((kind or SingleTokenAttention)(norm=block.norm2))


class SingleTokenAttention:
    """Attention processor of diffusers for a context of one token.

    Queries, keys and the normalisation before them get gradients of zero where they are trained, as
    without the short way: a parameter without gradient would stop DistributedDataParallel, and
    weight decay would pass it by.

    Example:
        >>> attention = Attention(query_dim=4, cross_attention_dim=6, heads=2, dim_head=2)
        >>> attention.set_processor(SingleTokenAttention())
        >>> attention(torch.rand(3, 10, 4), encoder_hidden_states=torch.rand(3, 1, 6)).shape
        torch.Size([3, 10, 4])

    Args:
        norm: layer that normalises the input of the attention and of nothing else; None where there
            is no such layer.
    """

    def __init__(self, norm: nn.Module | None = None) -> None:
        self._norm = norm

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Compute the attention's output (B, N, C) for a context (B, 1, D).

        Raises:
            ValueError: the context has another number of tokens, or the attention steps that
                Stable Diffusion's transformer blocks do not have.
        """
        if encoder_hidden_states is None or encoder_hidden_states.shape[1] != 1:
            got = "none" if encoder_hidden_states is None else encoder_hidden_states.shape[1]
            raise ValueError(
                f"expected a context of one token, got {got}; use attention with queries and keys "
                "(MODEL.DIFFUSION.SINGLE_TOKEN_ATTENTION False)"
            )
        if has_further_steps(attn):
            raise ValueError(
                "expected a cross-attention as in Stable Diffusion v1 and v2, got one with norms "
                "or a residual of its own; set MODEL.DIFFUSION.SINGLE_TOKEN_ATTENTION False"
            )
        value = attn.to_v(encoder_hidden_states)
        unused = [layer for layer in (attn.to_q, attn.to_k, self._norm) if layer is not None]
        parameters = [parameter for layer in unused for parameter in layer.parameters()]
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if trained:
            value = _WithZeroGradients.apply(value, *trained)
        output = attn.to_out[1](attn.to_out[0](value))
        return output.expand(-1, hidden_states.shape[1], -1)


def has_further_steps(attn: Attention) -> bool:
    """Tell whether an attention has norms or a residual of its own, unlike Stable Diffusion's."""
    norms = (attn.group_norm, attn.spatial_norm, attn.norm_cross, attn.norm_q, attn.norm_k)
    is_plain = attn.rescale_output_factor == 1 and not attn.residual_connection
    return any(norm is not None for norm in norms) or not is_plain


class _UnusedNorm(nn.LayerNorm):
    """Normalisation that is not computed: it keeps its parameters and passes its input on."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__(norm.normalized_shape, norm.eps, norm.elementwise_affine, device="meta")
        self.weight = norm.weight
        self.bias = norm.bias

    def forward(self, states: Tensor) -> Tensor:
        """Return the input, of which attention to a single token reads the shape alone."""
        return states


class _WithZeroGradients(torch.autograd.Function):
    """Pass a tensor on; in the backward pass, give further parameters gradients of zero."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient, *(torch.zeros_like(parameter) for parameter in ctx.saved_tensors)
