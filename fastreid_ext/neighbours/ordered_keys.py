"""Sort by distance, and by position where distances are equal."""

import torch
from torch import Tensor


def ordered_keys(distances: Tensor) -> Tensor:
    """Encode distances (R, G) as int64 keys that sort by (distance, gallery position).

    The bits of a float sort as the float does, once those of negative floats are inverted.
    """
    bits = (distances + 0.0).view(torch.int32).long()  # adding 0 makes -0 and 0 equal
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return bits.mul_(2**32).add_(torch.arange(distances.shape[1], device=distances.device))
