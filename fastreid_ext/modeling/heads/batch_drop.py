"""BatchDrop: in training, one rectangle of the feature map is zeroed for the whole batch.

Letters: B batch, C channels, H x W feature map.

[0] Dai et al., "Batch DropBlock Network for Person Re-identification and Beyond", ICCV 2019,
    sec. 3.2, https://arxiv.org/abs/1811.07130
"""

import torch
from torch import Tensor, nn


class BatchDrop(nn.Module):
    """Layer that zeroes one rectangle of all images and channels in training, none in eval mode.

    The rectangle has round(ratio * side) rows and columns. Its position is uniform over all places
    inside the map, sampled on the CPU from torch's global generator, whose state a checkpoint
    holds.

    Example:
        >>> drop = BatchDrop(height_ratio=0.5, width_ratio=1.0)  # a stripe of half the map
        >>> drop(torch.ones(2, 3, 8, 4)).sum().item()  # 96 of 192 numbers are left
        96.0

    Args:
        height_ratio: share in (0, 1] of the map's rows in the rectangle.
        width_ratio: share in (0, 1] of the map's columns; 1.0 makes the rectangle a stripe.
    """

    def __init__(self, height_ratio: float, width_ratio: float) -> None:
        super().__init__()
        for name, ratio in (("height_ratio", height_ratio), ("width_ratio", width_ratio)):
            if not 0 < ratio <= 1:
                raise ValueError(f"expected {name} in (0, 1], got {ratio}; a third is usual")
        self.height_ratio = height_ratio
        self.width_ratio = width_ratio

    def forward(self, features: Tensor) -> Tensor:
        """Zero a rectangle of a copy of the features (B, C, H, W)."""
        if not self.training:
            return features
        return self.apply_to(features, *self.sample(*features.shape[-2:]))

    def sample(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Sample top, left, rows and columns of a rectangle in a map of ``height`` x ``width``.

        Raises:
            ValueError: the map is so small that none or all of it would be zeroed.
        """
        rows = round(self.height_ratio * height)
        columns = round(self.width_ratio * width)
        if rows * columns in (0, height * width):
            raise ValueError(
                f"BatchDrop would zero none or all of the {height} x {width} feature map "
                f"with a rectangle of {rows} x {columns} "
                f"(MODEL.HEADS.BDB.DROP_HEIGHT {self.height_ratio:g}, DROP_WIDTH "
                f"{self.width_ratio:g}); enlarge INPUT.SIZE_TRAIN or change the ratios"
            )
        top = int(torch.randint(height - rows + 1, ()))
        left = int(torch.randint(width - columns + 1, ()))
        return top, left, rows, columns

    @staticmethod
    def apply_to(features: Tensor, top: int, left: int, rows: int, columns: int) -> Tensor:
        """Zero ``[..., top : top + rows, left : left + columns]`` of a copy of the features."""
        kept = features.new_ones(features.shape[-2:])
        kept[top : top + rows, left : left + columns] = 0
        return features * kept

    def extra_repr(self) -> str:
        """Show the ratios in ``print(model)``."""
        return f"height_ratio={self.height_ratio:g}, width_ratio={self.width_ratio:g}"
