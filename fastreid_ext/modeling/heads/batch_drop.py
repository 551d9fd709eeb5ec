"""BatchDrop: one rectangle of the feature map is zero for the whole batch, while training.

Letters: B batch, C channels, H x W feature map.

[0] Dai et al., "Batch DropBlock Network for Person Re-identification and Beyond", ICCV 2019,
    sec. 3.2, https://arxiv.org/abs/1811.07130
"""

import torch
from torch import Tensor, nn


class BatchDrop(nn.Module):
    """Zero one rectangle, the same for all images and channels; do nothing in eval mode.

    Its size is round(ratio * side); its position is uniform over all places inside the map, drawn
    on the CPU from torch's global generator, whose state a checkpoint holds.

    Args:
        height_ratio: share in (0, 1] of the rows.
        width_ratio: share in (0, 1] of the columns; 1.0 makes the rectangle a stripe.
    """

    def __init__(self, height_ratio: float, width_ratio: float) -> None:
        super().__init__()
        for name, ratio in (("height_ratio", height_ratio), ("width_ratio", width_ratio)):
            if not 0 < ratio <= 1:
                raise ValueError(f"expected {name} in (0, 1], got {ratio}; a third is usual")
        self.height_ratio = height_ratio
        self.width_ratio = width_ratio

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, H, W) features with the rectangle zeroed; the input is not written to."""
        if not self.training:
            return features
        return self.apply_to(features, *self.sample(*features.shape[-2:]))

    def sample(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, rows, columns) of a rectangle in a map of that size.

        Raises:
            ValueError: the map is so small that nothing or everything would be zeroed.
        """
        rows, columns = round(self.height_ratio * height), round(self.width_ratio * width)
        if rows * columns in (0, height * width):
            raise ValueError(
                "expected a feature map of which BatchDrop leaves something and takes something, "
                f"got {height} x {width} with a rectangle of {rows} x {columns} "
                f"(MODEL.HEADS.BDB.DROP_HEIGHT {self.height_ratio:g}, DROP_WIDTH "
                f"{self.width_ratio:g}); enlarge INPUT.SIZE_TRAIN or change the ratios"
            )
        top = int(torch.randint(height - rows + 1, ()))
        left = int(torch.randint(width - columns + 1, ()))
        return top, left, rows, columns

    @staticmethod
    def apply_to(features: Tensor, top: int, left: int, rows: int, columns: int) -> Tensor:
        """Zero ``[..., top : top + rows, left : left + columns]`` of a copy."""
        kept = features.new_ones(features.shape[-2:])
        kept[top : top + rows, left : left + columns] = 0
        return features * kept

    def extra_repr(self) -> str:
        """Show the ratios in ``print(model)``."""
        return f"height_ratio={self.height_ratio:g}, width_ratio={self.width_ratio:g}"
