"""A small pose-guided generator with random weights, of the classes of its large relative."""

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from fastreid_ext.diffusion.latents import pixels_per_latent
from fastreid_ext.diffusion.pose_guided.pipeline import PoseGuidedPipeline
from fastreid_ext.diffusion.pose_guided.pose_guider import PoseGuider, widths_for
from fastreid_ext.diffusion.tiny.models import (
    build_autoencoder,
    build_scheduler,
    seeded,
    vision_sizes,
)
from fastreid_ext.diffusion.tiny.sizes import TEST, ModelSizes

_GUIDER_WIDTHS = (8, 16, 32, 32)


def build_generator_unet(
    sizes: ModelSizes, *, latent_channels: int, context_width: int
) -> UNet2DConditionModel:
    """Build a U-Net on latents whose context is the embedding of an image.

    Args:
        sizes: sizes of the U-Net.
        latent_channels: number of channels of a latent.
        context_width: width of the image encoder's embedding.
    """
    blocks = len(sizes.unet_channels)
    return UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=sizes.unet_layers,
        block_out_channels=sizes.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * blocks,
        up_block_types=("CrossAttnUpBlock2D",) * blocks,
        cross_attention_dim=context_width,
        attention_head_dim=sizes.unet_heads,  # the number of heads, misnamed since SD 1
        norm_num_groups=sizes.norm_groups,
    )


def tiny_pose_guided(
    sizes: ModelSizes = TEST,
    *,
    seed: int = 0,
    combine: str = "concat",
    vae: AutoencoderKL | None = None,
    image_encoder: CLIPVisionModelWithProjection | None = None,
) -> PoseGuidedPipeline:
    """Build a pose-guided generator of tiny models.

    Example:
        >>> tiny_pose_guided().pose_guider.config.combine
        'concat'

    Args:
        sizes: sizes of the models.
        seed: seed of the random weights; equal for both U-Nets, as if both came from one model.
        combine: reading of how the condition maps are joined, see ``PoseGuider``.
        vae: trained autoencoder; None for one that averages pixels.
        image_encoder: trained image encoder; None for random weights.
    """
    with seeded(seed):
        vae = vae or build_autoencoder(sizes)
        image_encoder = image_encoder or CLIPVisionModelWithProjection(
            CLIPVisionConfig(**vision_sizes(sizes), projection_dim=sizes.projection)
        )
        stride = pixels_per_latent(vae)
        guider = PoseGuider(
            widths=_GUIDER_WIDTHS[: len(widths_for(stride))],
            out_channels=sizes.unet_channels[0],
            combine=combine,
        )
    unets = []
    for _ in range(2):
        with seeded(seed + 1):
            unets.append(
                build_generator_unet(
                    sizes,
                    latent_channels=vae.config.latent_channels,
                    context_width=image_encoder.config.projection_dim,
                )
            )
    side = image_encoder.config.image_size
    return PoseGuidedPipeline(
        vae=vae.eval(),
        unet=unets[0],
        reference_unet=unets[1],
        pose_guider=guider,
        image_encoder=image_encoder.eval(),
        feature_extractor=CLIPImageProcessor(size={"height": side, "width": side}),
        scheduler=build_scheduler(),
    )
