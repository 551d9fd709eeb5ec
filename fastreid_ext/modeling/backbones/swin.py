"""Swin-T/S/B backbones for any image size, with SOLIDER's semantic controller as an option.

They are built from parts of timm, so that a state dict has the keys and shapes of timm's
``swin_tiny_patch4_window7_224`` (small, base) without its head, whatever the image size. At
224 x 224 the output is timm's too; for other sizes see
:mod:`fastreid_ext.modeling.backbones.swin_stage`.

Letters: B batch, H x W rows and columns of a map, C channels. Images are (B, 3, height, width),
normalised.

[0] Liu et al., "Swin Transformer", ICCV 2021, https://arxiv.org/abs/2103.14030
[1] Chen et al., "Beyond Appearance: a Semantic Controllable Self-Supervised Learning Framework for
    Human-Centric Visual Tasks" (SOLIDER), CVPR 2023, https://arxiv.org/abs/2303.17602
"""

import dataclasses

import torch
from fastreid.config import CfgNode
from timm.layers import PatchEmbed
from timm.models.swin_transformer import PatchMerging
from torch import Tensor, nn

from fastreid_ext.modeling.backbones.swin_stage import SwinStage, WindowBlock, semantic_modulation

PATCH = 4


@dataclasses.dataclass(frozen=True)
class SwinSize:
    """Width of the first stage, and blocks and heads of each of the four; sec. 3.3 of [0]."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


SIZES = {
    "tiny": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


class SwinTrunk(nn.Module):
    """First stages of a Swin, from images to tokens (B, H, W, C).

    Args:
        patch_embed: layer from images to tokens of the first stage.
        layers: stages of the Swin, in their order.
        semantic_embed_w: one Linear(2, C) for w per stage but the first; empty without controller.
        semantic_embed_b: one Linear(2, C) for b per stage but the first; empty without controller.
        semantic_weight: weight lambda of the controller, in [0, 1].
    """

    def __init__(
        self,
        *,
        patch_embed: nn.Module,
        layers: nn.Sequential,
        semantic_embed_w: nn.ModuleList,
        semantic_embed_b: nn.ModuleList,
        semantic_weight: float,
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.layers = layers
        self.semantic_embed_w = semantic_embed_w
        self.semantic_embed_b = semantic_embed_b
        self.semantic_weight = semantic_weight

    def tokens(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, height, width) into tokens of the trunk's last stage."""
        x = self.layers[0](self.patch_embed(images))
        for index, stage in enumerate(self.layers[1:]):
            x = stage(x, self.modulation(index))
        return x

    def no_weight_decay(self) -> set[str]:
        """List names of parameters that are exempt from weight decay in timm's Swin."""
        return _bias_tables(self)

    def modulation(self, index: int) -> tuple[Tensor, Tensor] | None:
        """Compute the controller's factor and summand between stage ``index`` and the next."""
        if not len(self.semantic_embed_w):
            return None
        return semantic_modulation(
            self.semantic_embed_w[index], self.semantic_embed_b[index], self.semantic_weight
        )

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, height, width) into :meth:`tokens`."""
        return self.tokens(images)


class SwinLastStage(nn.Module):
    """The last stage of a Swin with its norm: tokens (B, 2H, 2W, C / 2) to a map (B, C, H, W).

    Args:
        stage: last stage of the Swin.
        norm: normalisation layer over the channels C.
        semantic_embed: linear layers for w and b before the stage; empty without controller.
        semantic_weight: weight lambda of the controller, in [0, 1].
    """

    def __init__(
        self,
        *,
        stage: SwinStage,
        norm: nn.Module,
        semantic_embed: nn.ModuleList,
        semantic_weight: float,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.norm = norm
        self.semantic_embed = semantic_embed
        self.semantic_weight = semantic_weight

    def no_weight_decay(self) -> set[str]:
        """List names of parameters that are exempt from weight decay in timm's Swin."""
        return _bias_tables(self)

    def forward(self, x: Tensor) -> Tensor:
        """Turn tokens (B, 2H, 2W, C / 2) of the trunk into the map (B, C, H, W)."""
        modulation = None
        if len(self.semantic_embed):
            modulation = semantic_modulation(*self.semantic_embed, self.semantic_weight)
        return self.norm(self.stage(x, modulation)).permute(0, 3, 1, 2)


class SwinBackbone(SwinTrunk):
    """Swin transformer: images (B, 3, height, width) to a map (B, C, height / 32, width / 32).

    Sizes are rounded up. With ``semantic_weight`` in [0, 1] it is SOLIDER's Swin [1]: after patch
    merging, the tokens x of stage i + 1 become ``x * softplus(w) + b``, where w and b are
    Linear(2, C) of (lambda, 1 - lambda) and C is the width of the stage; and windows shift even
    where one window covers a map. As in SOLIDER's fine-tuning code the linear layers are not
    trained; they come with the pre-trained weights. Its files hold a fourth pair after the last
    stage, whose result is unused; it is left out here.

    Example:
        >>> size = SwinSize(width=12, depths=(1, 1, 2, 1), heads=(1, 2, 3, 6))
        >>> SwinBackbone(size)(torch.rand(2, 3, 64, 32)).shape
        torch.Size([2, 96, 2, 1])

    Args:
        size: widths, blocks and heads, one of :data:`SIZES`.
        drop_path: rate in [0, 1) of stochastic depth in the last block; it rises linearly from 0.
        dropout: dropout rate in [0, 1) after the projections and in the MLPs.
        attention_dropout: dropout rate in [0, 1) of the attention.
        semantic_weight: weight lambda of [1] in [0, 1]; a negative one makes a plain Swin.
    """

    def __init__(
        self,
        size: SwinSize,
        *,
        drop_path: float = 0.1,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        semantic_weight: float = -1.0,
    ) -> None:
        widths = [size.width * 2**index for index in range(len(size.depths))]
        block_args = {
            "shift_single": semantic_weight >= 0,
            "proj_drop": dropout,
            "attn_drop": attention_dropout,
        }
        controlled = widths[1:] if semantic_weight >= 0 else []
        super().__init__(
            patch_embed=PatchEmbed(
                img_size=None,
                patch_size=PATCH,
                embed_dim=widths[0],
                norm_layer=nn.LayerNorm,
                output_fmt="NHWC",
                dynamic_img_pad=True,
            ),
            layers=_stages(widths, size, drop_path, block_args),
            semantic_embed_w=nn.ModuleList(nn.Linear(2, width) for width in controlled),
            semantic_embed_b=nn.ModuleList(nn.Linear(2, width) for width in controlled),
            semantic_weight=semantic_weight,
        )
        self.num_features = widths[-1]
        self.norm = nn.LayerNorm(self.num_features)
        self.apply(_initialise)
        self.semantic_embed_w.requires_grad_(False)
        self.semantic_embed_b.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Turn normalised images (B, 3, height, width) into the map (B, C, H, W)."""
        return self.norm(self.tokens(images)).permute(0, 3, 1, 2)

    def split_last_stage(self) -> tuple[SwinTrunk, SwinLastStage]:
        """Cut the network into two modules that share its parameters: trunk and last stage."""
        trunk = SwinTrunk(
            patch_embed=self.patch_embed,
            layers=self.layers[:-1],
            semantic_embed_w=self.semantic_embed_w[:-1],
            semantic_embed_b=self.semantic_embed_b[:-1],
            semantic_weight=self.semantic_weight,
        )
        last_stage = SwinLastStage(
            stage=self.layers[-1],
            norm=self.norm,
            semantic_embed=self.semantic_embed_w[-1:] + self.semantic_embed_b[-1:],
            semantic_weight=self.semantic_weight,
        )
        return trunk, last_stage


def _bias_tables(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters() if "relative_position_bias_table" in name}


def _stages(widths: list[int], size: SwinSize, drop_path: float, block_args: dict) -> nn.Sequential:
    rates = iter(torch.linspace(0, drop_path, sum(size.depths), device="cpu").tolist())
    stages = []
    for index, (width, depth) in enumerate(zip(widths, size.depths, strict=True)):
        blocks = [
            WindowBlock(
                shifted=block % 2 == 1,
                dim=width,
                num_heads=size.heads[index],
                drop_path=next(rates),
                **block_args,
            )
            for block in range(depth)
        ]
        stages.append(SwinStage(PatchMerging(width // 2) if index else nn.Identity(), blocks))
    return nn.Sequential(*stages)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def swin_backbone(cfg: CfgNode) -> SwinBackbone:
    """Build the Swin of ``MODEL.BACKBONE.DEPTH`` (tiny, small, base) with random weights."""
    backbone = cfg.MODEL.BACKBONE
    return SwinBackbone(
        SIZES[backbone.DEPTH],
        drop_path=backbone.DROP_PATH_RATIO,
        dropout=backbone.DROP_RATIO,
        attention_dropout=backbone.ATT_DROP_RATE,
        semantic_weight=backbone.SEMANTIC_WEIGHT,
    )
