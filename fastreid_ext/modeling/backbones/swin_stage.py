"""Windows, blocks and stages of a Swin transformer on maps of any size.

They are parts of timm with its keys. Two things differ from timm where a map is no multiple of the
window of 7, as at all usual image sizes of person Re-ID:

- A map is padded *before* it is shifted, as in the authors' detection code [1], torchvision and
  SOLIDER. timm shifts first; its mask then lets the top rows of an image attend to the bottom ones.
- A map smaller than the window is padded to one window instead of shrinking the window, so that the
  table of relative positions keeps its shape (169, heads) at any image size.

Letters: B batch, H x W rows and columns of a map, C channels, M window side, N windows of a map.

[0] Liu et al., "Swin Transformer", ICCV 2021, https://arxiv.org/abs/2103.14030
[1] https://github.com/SwinTransformer/Swin-Transformer-Object-Detection
"""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

WINDOW = 7


class WindowBlock(SwinTransformerBlock):
    """Block of timm with windows of a fixed size on maps of any size.

    Args:
        shifted: whether the windows are shifted by half their side.
        shift_single: whether windows shift along an axis that one window covers, as in SOLIDER;
            not so in [0].
        block_args: keyword arguments of :class:`timm.models.swin_transformer.SwinTransformerBlock`.
    """

    def __init__(self, *, shifted: bool, shift_single: bool, **block_args: object) -> None:
        super().__init__(
            input_resolution=(WINDOW, WINDOW),
            window_size=WINDOW,
            shift_size=WINDOW // 2 if shifted else 0,
            always_partition=True,
            dynamic_mask=True,
            **block_args,
        )
        self.shifted = shifted
        self.shift_single = shift_single

    def _attn(self, x: Tensor) -> Tensor:
        """Attend within windows of tokens (B, H, W, C): pad, shift, cut, attend, and undo these."""
        batch, rows, columns, channels = x.shape
        x = F.pad(x, (0, 0, 0, -columns % WINDOW, 0, -rows % WINDOW))
        padded = x.shape[1:3]
        shift = tuple(self._shift(side) for side in padded)
        if any(shift):
            x = torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(1, 2))
        grid = padded[0] // WINDOW, padded[1] // WINDOW
        windows = x.reshape(batch, grid[0], WINDOW, grid[1], WINDOW, channels)
        windows = windows.transpose(2, 3).reshape(-1, WINDOW**2, channels)
        mask = shift_mask(padded, shift, x) if any(shift) else None
        windows = self.attn(windows, mask=mask)
        x = windows.reshape(batch, grid[0], grid[1], WINDOW, WINDOW, channels)
        x = x.transpose(2, 3).reshape(batch, *padded, channels)
        if any(shift):
            x = torch.roll(x, shifts=shift, dims=(1, 2))
        return x[:, :rows, :columns]

    def _shift(self, side: int) -> int:
        return WINDOW // 2 if self.shifted and (side > WINDOW or self.shift_single) else 0


def shift_mask(size: tuple[int, int], shift: tuple[int, int], like: Tensor) -> Tensor:
    """Mask attention between tokens that shifting brought into one window from two ends of a map.

    Example:
        >>> mask = shift_mask((14, 7), (3, 0), torch.empty(0))  # two windows, shifted by 3 rows
        >>> mask.shape, mask[0].any().item(), mask[1].any().item()
        (torch.Size([2, 49, 49]), False, True)

    Args:
        size: rows and columns of the padded map, multiples of the window.
        shift: rows and columns by which the map was shifted.
        like: tensor with the mask's device and dtype.

    Returns:
        Mask (N, M^2, M^2), windows row by row: 0 where two positions may attend to each other, else
        -100.
    """
    regions = []
    for side, moved in zip(size, shift, strict=True):
        position = torch.arange(side, device=like.device)
        inside = (position >= side - WINDOW).long() + (position >= side - moved).long()
        regions.append(inside if moved else torch.zeros_like(position))
    label = 3 * regions[0][:, None] + regions[1][None, :]  # (H, W)
    label = label.reshape(size[0] // WINDOW, WINDOW, size[1] // WINDOW, WINDOW)
    label = label.transpose(1, 2).reshape(-1, WINDOW**2)  # (N, M^2)
    return (label[:, None, :] != label[:, :, None]).to(like.dtype) * -100.0


class SwinStage(nn.Module):
    """Patch merging (except in the first stage) and blocks, on tokens (B, H, W, C)."""

    def __init__(self, downsample: nn.Module, blocks: list[WindowBlock]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Apply merging, ``modulation`` (a factor and a summand, each (C,)), and blocks."""
        x = self.downsample(x)
        if modulation is not None:
            x = x * modulation[0] + modulation[1]
        return self.blocks(x)


def semantic_modulation(embed_w: nn.Module, embed_b: nn.Module, weight: float) -> tuple:
    """Compute factor softplus(w) and summand b of SOLIDER's controller.

    Example:
        >>> factor, summand = semantic_modulation(nn.Linear(2, 96), nn.Linear(2, 96), weight=0.2)
        >>> factor.shape, summand.shape
        (torch.Size([96]), torch.Size([96]))

    Args:
        embed_w: linear layer (2 to C) that gives w.
        embed_b: linear layer (2 to C) that gives b.
        weight: weight lambda in [0, 1]: 0 for appearance alone, 1 for semantics alone.

    Returns:
        Two tensors (C,).
    """
    pair = embed_w.weight.new_tensor([weight, 1 - weight])
    return F.softplus(embed_w(pair)), embed_b(pair)
