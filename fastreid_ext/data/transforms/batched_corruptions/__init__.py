"""The corruptions on a whole batch (B, 3, H, W) of any device."""

from fastreid_ext.data.transforms.batched_corruptions.batch import (
    BATCHED,
    ONE_BY_ONE,
    corrupt_batch,
)
from fastreid_ext.data.transforms.batched_corruptions.on_device import CorruptOnDevice

__all__ = ["BATCHED", "ONE_BY_ONE", "CorruptOnDevice", "corrupt_batch"]
