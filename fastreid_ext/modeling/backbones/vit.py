"""Plain ViT and the image tower of CLIP as backbones: VisionTransformer of timm with its keys.

Letters: B batch, N patches, h x w their grid (one row of patches per 16 pixels, 8 in a miniature
CLIP), C channels of the output. Images are (B, 3, height, width), normalised, of exactly the size
the model was made for: the position embedding has one vector per patch.

[0] Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, https://arxiv.org/abs/2010.11929
[1] Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP),
    ICML 2021, https://arxiv.org/abs/2103.00020
"""

import dataclasses
import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

PATCH = 16


@dataclasses.dataclass(frozen=True)
class ViTSize:
    """Width, number of blocks and of heads, edge of a patch in pixels.

    From tables 1 of [0] and of DeiT (arXiv 2012.12877).
    """

    width: int
    depth: int
    heads: int
    patch: int = PATCH


SIZES = {
    "tiny": ViTSize(192, 12, 3),
    "small": ViTSize(384, 12, 6),
    "base": ViTSize(768, 12, 12),
}
CLIP_WIDTH = 512  # of the space that images and texts share, ViT-B/16
# Towers of CLIP by DEPTH, each with that width; "miniature" is that of fastreid_ext.diffusion.tiny.
CLIP_TOWERS = {
    "base": (SIZES["base"], CLIP_WIDTH),
    "miniature": (ViTSize(96, 3, 4, patch=8), 64),
}


class ViTTrunk(nn.Module):
    """Trunk of a ViT without its last block: images to tokens (B, 1 + N, width)."""

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__()
        self.patch_embed = vit.patch_embed
        self.cls_token = vit.cls_token
        self.pos_embed = vit.pos_embed
        self.pos_drop = vit.pos_drop
        self.norm_pre = vit.norm_pre
        self.blocks = vit.blocks[:-1]

    def no_weight_decay(self) -> set[str]:
        """List names of parameters that are exempt from weight decay in timm's ViT."""
        return {"pos_embed", "cls_token"}

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, height, width) into the input of the last block."""
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.blocks(self.norm_pre(self.pos_drop(x)))


class ViTLastStage(nn.Module):
    """Last block of a ViT, norm and projection: tokens (B, 1 + N, width) to a map."""

    def __init__(self, vit: "ViTBackbone") -> None:
        super().__init__()
        self.block = vit.blocks[-1]
        self.norm = vit.norm
        self.head = vit.head
        self.as_map = vit.as_map

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn the tokens before the last block into the map (B, C, h, w)."""
        return self.as_map(self.head(self.norm(self.block(tokens))))


@dataclasses.dataclass(frozen=True)
class TokensAsMap:
    """Reshaping of tokens (B, 1 + N, C) into a map.

    Example:
        >>> TokensAsMap("patch", (4, 2))(torch.rand(2, 1 + 4 * 2, 24)).shape
        torch.Size([2, 24, 4, 2])

    Attributes:
        tokens: "class" for the class token as (B, C, 1, 1), or "patch" for the patches as
            (B, C, h, w).
        grid: rows and columns (h, w) of patches.
    """

    tokens: str
    grid: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        """Turn tokens (B, 1 + N, C) into the map (B, C, h, w)."""
        if self.tokens == "class":
            return x[:, 0, :, None, None]
        return x[:, 1:].transpose(1, 2).unflatten(2, self.grid)


class ViTBackbone(VisionTransformer):
    """ViT of timm that gives a map (B, C, h, w).

    Example:
        >>> size = ViTSize(width=24, depth=2, heads=2)
        >>> backbone = ViTBackbone(size, image_size=(64, 32), tokens="patch")
        >>> backbone(torch.rand(2, 3, 64, 32)).shape
        torch.Size([2, 24, 4, 2])

    Args:
        size: width, blocks and heads, one of :data:`SIZES`.
        image_size: height and width in pixels, multiples of 16.
        tokens: "class" for the class token as (B, C, 1, 1), or "patch" for the patches as
            (B, C, h, w).
        projection: width C of a linear layer without bias after the last norm, applied to every
            token; 0 leaves it out.
        position_mode: interpolation of pre-trained position embeddings; see
            :func:`resized_position_embedding`.
        vit_args: keyword arguments of timm's VisionTransformer, such as ``drop_path_rate``.
    """

    def __init__(
        self,
        size: ViTSize,
        *,
        image_size: tuple[int, int],
        tokens: str = "class",
        projection: int = 0,
        position_mode: str = "bicubic",
        **vit_args: Any,
    ) -> None:
        if tokens not in ("class", "patch"):
            raise ValueError(
                f"expected tokens class or patch, got '{tokens}'; load_config fills in "
                "MODEL.BACKBONE.TOKENS where it is empty"
            )
        super().__init__(
            img_size=image_size,
            patch_size=size.patch,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            num_classes=0,
            global_pool="",
            **vit_args,
        )
        self.position_mode = position_mode
        self.as_map = TokensAsMap(tokens, self.patch_embed.grid_size)
        if projection:
            self.num_features = projection
            self.head = nn.Linear(size.width, projection, bias=False)
            nn.init.normal_(self.head.weight, std=size.width**-0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, height, width) into the map (B, C, h, w)."""
        return self.as_map(self.head(self.forward_features(images)))

    def split_last_stage(self) -> tuple[ViTTrunk, ViTLastStage]:
        """Cut the network into two modules that share its parameters: trunk and last stage."""
        return ViTTrunk(self), ViTLastStage(self)


class ClipViTBackbone(ViTBackbone):
    """Image tower of CLIP [1], with its projection to the space that images and texts share.

    Keys are those of timm's CLIP towers; ``head`` is the projection, without timm's bias of zeros,
    as in the original.

    Example:
        >>> size = ViTSize(width=24, depth=2, heads=2)
        >>> backbone = ClipViTBackbone(size, image_size=(64, 32))
        >>> backbone(torch.rand(2, 3, 64, 32)).shape  # the class token, in the shared space
        torch.Size([2, 512, 1, 1])

    Args:
        size: width, blocks and heads, one of :data:`SIZES`.
        quick_gelu: whether the activation is x * sigmoid(1.702 x), as in OpenAI's weights, or GELU.
        projection: width C of the space that images and texts share.
        vit_args: keyword arguments of :class:`ViTBackbone`.
    """

    def __init__(
        self,
        size: ViTSize,
        *,
        quick_gelu: bool = True,
        projection: int = CLIP_WIDTH,
        **vit_args: Any,
    ) -> None:
        super().__init__(
            size,
            projection=projection,
            position_mode="bilinear",
            pre_norm=True,
            norm_layer=functools.partial(nn.LayerNorm, eps=1e-5),
            act_layer="quick_gelu" if quick_gelu else "gelu",
            **vit_args,
        )


def resized_position_embedding(
    weights: Tensor,
    grid: tuple[int, int],
    *,
    mode: str = "bicubic",
    old_grid: tuple[int, int] | None = None,
) -> Tensor:
    """Resize a position embedding to another grid of patches; the class token's vector is kept.

    Example:
        >>> square = torch.rand(1, 1 + 14 * 14, 8)  # of images of 224 x 224 pixels
        >>> resized_position_embedding(square, (16, 8)).shape  # for 256 x 128
        torch.Size([1, 129, 8])

    Args:
        weights: position embedding (1, 1 + N, C), the class token first.
        grid: rows and columns (h, w) of the wanted grid.
        mode: "bilinear", as CLIP towers are resized for Re-ID, or "bicubic" (antialiased), as timm
            resizes other ViTs.
        old_grid: rows and columns of the grid in ``weights``; None for a square grid.

    Returns:
        Position embedding (1, 1 + h * w, C).
    """
    patches = weights.shape[1] - 1
    side = math.isqrt(max(patches, 0))
    old_grid = old_grid or (side, side)
    if weights.ndim != 3 or math.prod(old_grid) != patches:
        raise ValueError(
            "expected a position embedding (1, 1 + N, C) with one vector for the class token and N "
            f"for a grid of {old_grid[0]} x {old_grid[1]}, got {tuple(weights.shape)}; give the "
            "grid it was trained with as old_grid"
        )
    if old_grid == tuple(grid):
        return weights
    image = weights[:, 1:].transpose(1, 2).unflatten(2, old_grid).float()
    image = F.interpolate(image, size=tuple(grid), mode=mode, antialias=mode == "bicubic")
    resized = image.flatten(2).transpose(1, 2).to(weights.dtype)
    return torch.cat([weights[:, :1], resized], dim=1)


def _shared_arguments(cfg: CfgNode) -> dict[str, Any]:
    backbone = cfg.MODEL.BACKBONE
    return {
        "image_size": tuple(cfg.INPUT.SIZE_TRAIN),
        "tokens": backbone.TOKENS,
        "drop_path_rate": backbone.DROP_PATH_RATIO,
        "pos_drop_rate": backbone.DROP_RATIO,
        "proj_drop_rate": backbone.DROP_RATIO,
        "attn_drop_rate": backbone.ATT_DROP_RATE,
    }


def _frozen_as_wanted(vit: ViTBackbone, cfg: CfgNode) -> ViTBackbone:
    vit.patch_embed.proj.requires_grad_(not cfg.MODEL.BACKBONE.FREEZE_PATCH_EMBED)
    return vit


def plain_vit_backbone(cfg: CfgNode) -> ViTBackbone:
    """Build the ViT of ``MODEL.BACKBONE.DEPTH`` (tiny, small, base) with random weights."""
    size = SIZES[cfg.MODEL.BACKBONE.DEPTH]
    return _frozen_as_wanted(ViTBackbone(size, **_shared_arguments(cfg)), cfg)


def clip_vit_backbone(cfg: CfgNode) -> ClipViTBackbone:
    """Build the image tower of CLIP's ViT-B/16, or of a miniature CLIP, with random weights."""
    size, projection = CLIP_TOWERS[cfg.MODEL.BACKBONE.DEPTH]
    tower = ClipViTBackbone(
        size,
        projection=projection,
        quick_gelu=cfg.MODEL.BACKBONE.QUICK_GELU,
        **_shared_arguments(cfg),
    )
    return _frozen_as_wanted(tower, cfg)
