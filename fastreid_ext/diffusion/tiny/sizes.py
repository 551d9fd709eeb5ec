"""Sizes of the tiny models."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes of a family of models that work together.

    Images are ``height`` x ``width`` pixels, latents a fourth of that. CLIP and the
    captioners see squares of ``vision_side`` pixels, whatever the shape of the image.
    """

    height: int
    width: int
    autoencoder_channels: tuple[int, int, int]
    latent_channels: int = 4  # as Stable Diffusion 1.x
    unet_channels: tuple[int, ...]
    unet_layers: int  # of each block
    unet_heads: int
    norm_groups: int  # must divide every number of channels
    text_width: int  # also the width of the U-Net's cross-attention
    text_layers: int
    text_tokens: int = 77  # as all CLIP text models of Stable Diffusion
    vision_side: int
    vision_patch: int
    vision_width: int
    vision_layers: int
    projection: int  # of CLIP's common space
    captioner_width: int
    captioner_layers: int
    heads: int  # of all transformers


# For tests: a step takes milliseconds.
TEST = ModelSizes(
    height=32,
    width=16,
    autoencoder_channels=(8, 16, 16),
    unet_channels=(16, 32),
    unet_layers=1,
    unet_heads=2,
    norm_groups=4,
    text_width=32,
    text_layers=2,
    vision_side=32,
    vision_patch=8,
    vision_width=32,
    vision_layers=2,
    projection=16,
    captioner_width=32,
    captioner_layers=2,
    heads=2,
)

# For the miniature replication: trained in less than an hour of one core.
MINIATURE = ModelSizes(
    height=64,
    width=32,
    autoencoder_channels=(16, 32, 64),
    # Four carry shape and one axis of colour: yellow and green clothes turn orange and blue.
    latent_channels=8,
    unet_channels=(64, 128),
    unet_layers=1,
    unet_heads=4,
    norm_groups=8,
    text_width=96,
    text_layers=2,
    vision_side=64,
    vision_patch=8,
    vision_width=96,
    vision_layers=3,
    projection=64,
    captioner_width=96,
    captioner_layers=3,
    heads=4,
)

SIZES = {"test": TEST, "miniature": MINIATURE}
