"""U-Nets of the generator: one denoises under guidance, one reads the reference image.

Letters: B rows of a batch, R <= B rows with a reference, c x h x w a latent, N tokens of a
transformer block, C channels of a block or of the first convolution, D width of the context.
"""

from collections.abc import Iterator

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from fastreid_ext.diffusion.part_checks import expect_no_extra_input
from fastreid_ext.diffusion.pose_guided.reference_attention import Features, read_references


class GuidedConvIn(nn.Conv2d):
    """First convolution of a U-Net, to whose output the features of the pose guider are added.

    The U-Net hands its input to this layer as it is, so the features travel as further channels
    behind the latents. Without them the layer is a plain convolution. Names of parameters are those
    of ``nn.Conv2d``: files of weights stay the same.

    Example:
        >>> conv = GuidedConvIn(4, 16, kernel_size=3, padding=1)
        >>> latents, features = torch.rand(2, 4, 8, 4), torch.rand(2, 16, 8, 4)
        >>> bool((conv(torch.cat([latents, features], dim=1)) == conv(latents) + features).all())
        True
    """

    @classmethod
    def from_conv(cls, conv: nn.Conv2d) -> "GuidedConvIn":
        """Build the layer around the parameters of a convolution, which it shares."""
        guided = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            device="meta",
        )
        guided.weight = conv.weight
        guided.bias = conv.bias
        return guided

    def forward(self, sample: Tensor) -> Tensor:
        """Compute (B, C, h, w) from latents (B, c, h, w) or latents and features (B, c + C, h, w).

        Raises:
            ValueError: another number of channels.
        """
        further = sample.shape[1] - self.in_channels
        if further == 0:
            return super().forward(sample)
        if further != self.out_channels:
            raise ValueError(
                f"expected latents of {self.in_channels} channels, or {self.out_channels} channels "
                f"of guidance behind them, got {sample.shape[1]} channels; give the guider as many "
                "output channels as the U-Net's first convolution has"
            )
        latents, features = sample.split([self.in_channels, further], dim=1)
        return super().forward(latents) + features


def guided_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Make a U-Net ready to take guidance and references, in place; a second time does nothing.

    Its results without both stay the same, and so do the names of its parameters.

    Raises:
        ValueError: the U-Net is of another kind than Stable Diffusion's v1 and v2.
    """
    expect_no_extra_input(unet.config, "the generator")
    if not isinstance(unet.conv_in, GuidedConvIn):
        unet.conv_in = GuidedConvIn.from_conv(unet.conv_in)
        read_references(unet)
    return unet


def reference_features(
    reference_unet: UNet2DConditionModel, latents: Tensor, context: Tensor
) -> dict[str, Tensor]:
    """Compute the inputs of self-attention in every transformer block, at step 0.

    Args:
        reference_unet: U-Net that :func:`guided_unet` made ready.
        latents: (R, c, h, w) scaled latents of the reference images, without noise.
        context: (R, 1, D) embeddings of the reference images.

    Returns:
        (R, N, C) normalised tokens by name of the block, with a gradient where the U-Net has one.

    Raises:
        ValueError: the U-Net was not made ready, or its attention was replaced.
    """
    captured: dict[str, Tensor] = {}
    reference_unet(
        latents.to(reference_unet.dtype),
        torch.zeros(len(latents), dtype=torch.long, device=latents.device),
        encoder_hidden_states=context.to(reference_unet.dtype),
        cross_attention_kwargs={"captured": captured},
        return_dict=False,
    )
    if not captured:
        raise ValueError(
            "expected a U-Net whose attention captures features, got one that does not; call "
            "guided_unet on it first"
        )
    return dict(captured)  # gradient checkpointing still knows the other one


def predict(
    unet: UNet2DConditionModel,
    noisy: Tensor,
    steps: Tensor,
    context: Tensor,
    guidance: Tensor | None = None,
    reference: Features | None = None,
) -> Tensor:
    """Let the denoising U-Net predict noise, velocity or clean latents.

    Args:
        unet: U-Net that :func:`guided_unet` made ready.
        noisy: (B, c, h, w) noisy latents z_t.
        steps: (B,) or () integer steps of the noise schedule.
        context: (B, 1, D) embeddings of the reference images, zero where the condition is dropped.
        guidance: (B, C, h, w) output of the pose guider; None for no guidance.
        reference: (R, N, C) features by name of the block for the last R rows: the first B - R
            rows attend to themselves alone; None for no row with a reference. With R = 0 (features
            sliced to no row) every parameter of the reference U-Net gets a gradient of zero, which
            DistributedDataParallel needs and None does not give.

    Returns:
        (B, c, h, w) prediction in the dtype of the U-Net.

    Raises:
        ValueError: guidance of another size than the latents, or features of another U-Net.
    """
    sample = noisy.to(unet.dtype)
    if guidance is not None:
        if guidance.shape[:1] + guidance.shape[2:] != noisy.shape[:1] + noisy.shape[2:]:
            raise ValueError(
                f"expected guidance of the latents' rows and size {tuple(noisy.shape)}, got "
                f"{tuple(guidance.shape)}; conditions must have the size of the image"
            )
        sample = torch.cat([sample, guidance.to(sample.dtype)], dim=1)
    return unet(
        sample,
        steps,
        encoder_hidden_states=context.to(unet.dtype),
        cross_attention_kwargs=None if reference is None else {"reference": reference},
        return_dict=False,
    )[0]


def freeze_unread(unet: UNet2DConditionModel, *, is_reference: bool = False) -> list[str]:
    """Freeze the parameters of a U-Net that no result depends on, in place.

    Queries, keys and their normalisation have no influence in attention to a context of one token.
    Of the reference U-Net, nothing is read behind the input of the last self-attention. Without
    gradients such parameters would stop DistributedDataParallel; weight decay would shrink them.

    Args:
        unet: U-Net that :func:`guided_unet` made ready.
        is_reference: whether it is the reference U-Net.

    Returns:
        Names of the frozen parameters, in the order of the U-Net's.
    """
    without_influence = set(_of_single_tokens(unet))
    if is_reference:
        without_influence |= _behind_last_capture(unet)
    frozen = []
    for name, parameter in unet.named_parameters():
        if name in without_influence:
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen


def _of_single_tokens(unet: UNet2DConditionModel) -> Iterator[str]:
    """Yield the parameters that attention to a single token leaves out."""
    for name, _ in unet.named_parameters():
        in_block = name.partition(".transformer_blocks.")[2].partition(".")[2]
        if in_block.startswith(("attn2.to_q.", "attn2.to_k.", "norm2.")):
            yield name


def _behind_last_capture(unet: UNet2DConditionModel) -> set[str]:
    """Ask autograd which parameters the captured features do not depend on.

    The twin has the architecture but no data: "meta" tensors cost neither memory nor arithmetic.
    """
    with torch.device("meta"):
        twin = guided_unet(type(unet).from_config(unet.config))
        edge = 2**twin.num_upsamplers
        latents = torch.empty(1, unet.config.in_channels, edge, edge)
        features = reference_features(
            twin, latents, torch.empty(1, 1, unet.config.cross_attention_dim)
        )
    names, parameters = zip(*twin.named_parameters(), strict=True)
    total = sum(tokens.sum() for tokens in features.values())
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return {name for name, found in zip(names, gradients, strict=True) if found is None}
