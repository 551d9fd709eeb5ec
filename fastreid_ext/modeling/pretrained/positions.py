"""Resize tensors that depend on the image or window size of the pre-training."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.modeling.pretrained.family import Tensors

_TABLE = ".relative_position_bias_table"


def fit_positions(
    tensors: Tensors, backbone: nn.Module, image_size: tuple[int, int] | None = None
) -> tuple[Tensors, list[str]]:
    """Resize position embeddings (ViT) and bias tables (Swin) to a backbone's shapes.

    Args:
        tensors: tensors by their names in the backbone.
        backbone: network that the tensors will be loaded into.
        image_size: height and width in pixels of the pre-training's images; None for square ones.

    Returns:
        The tensors, and a line for each one that was resized.
    """
    ours = backbone.state_dict()
    fitted = dict(tensors)
    lines = []
    for name, value in tensors.items():
        if name not in ours or ours[name].shape == value.shape or value.ndim != ours[name].ndim:
            continue
        if value.shape[-1] != ours[name].shape[-1]:
            continue  # of another network, not of another size
        if name == "pos_embed":
            fitted[name], line = _position_embedding(value, backbone, image_size)
        elif name.endswith(_TABLE) and math.isqrt(len(value)) ** 2 == len(value):
            window = backbone.get_submodule(name.removesuffix(_TABLE)).window_size
            fitted[name] = _bias_table(value, window)
            line = f"for windows of {window[0]} x {window[1]}, bicubic"
        else:
            continue
        lines.append(f"{name}: {tuple(value.shape)} -> {tuple(fitted[name].shape)} {line}")
    return fitted, lines


def _bias_table(table: Tensor, window: tuple[int, int]) -> Tensor:
    """Resize a table of relative positions, as Microsoft's code does between windows of 7 and 12.

    Args:
        table: bias table ((2 S - 1)^2, heads) of a square window of side S.
        window: rows and columns of the wanted window.

    Returns:
        Bias table ((2 rows - 1) (2 columns - 1), heads).
    """
    side = math.isqrt(len(table))
    image = table.T.unflatten(1, (side, side))[None].float()
    size = [2 * length - 1 for length in window]
    image = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
    return image[0].flatten(1).T.to(table.dtype)


def _position_embedding(
    value: Tensor, backbone: nn.Module, image_size: tuple[int, int] | None
) -> tuple[Tensor, str]:
    grid, patch = _grid_and_patch(backbone.patch_embed)
    mode = getattr(backbone, "position_mode", "bicubic")
    old_grid = (image_size[0] // patch[0], image_size[1] // patch[1]) if image_size else None
    has_class_token = not getattr(backbone, "no_embed_class", False)
    vectors = getattr(backbone, "num_prefix_tokens", 1) if has_class_token else 0
    if old_grid is not None and old_grid[0] * old_grid[1] != value.shape[1] - vectors:
        old_grid = None  # the patches overlap, or the size is not that of this network
    patches = value.shape[1] - vectors
    if old_grid is None and math.isqrt(patches) ** 2 != patches:
        raise ValueError(
            f"expected a position embedding of a square grid of patches, or the image size of its "
            f"training, got {patches} patches; put the config.yaml of the run beside the file, "
            "where INPUT.SIZE_TRAIN tells the grid"
        )
    if vectors == 1:
        from fastreid_ext.modeling.backbones.vit import resized_position_embedding

        resized = resized_position_embedding(value, grid, mode=mode, old_grid=old_grid)
    else:  # a ViT of timm with registers, or without a class token
        from timm.layers import resample_abs_pos_embed  # importing timm takes a second

        resized = resample_abs_pos_embed(value, list(grid), old_grid, vectors, mode)
    return resized, f"for a grid of {grid[0]} x {grid[1]} patches, {mode}"


def _grid_and_patch(patch_embed: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Read grid (rows, columns) and patch size from a layer of timm or fastreid."""
    if hasattr(patch_embed, "num_y"):
        return (patch_embed.num_y, patch_embed.num_x), tuple(patch_embed.patch_size)
    return tuple(patch_embed.grid_size), tuple(patch_embed.patch_size)
