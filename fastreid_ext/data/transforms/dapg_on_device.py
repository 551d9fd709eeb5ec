"""The corruption chains and the mixture of DAPG's views, computed for a whole batch on its device.

The loader samples (:class:`~fastreid_ext.data.transforms.dapg_views.DapgViews` with ``is_applied``
False) and sends three clean views with the records of four; here they become q, k1, k2 and k3.
Pixels differ from those of the loader, as those of the batched corruptions do, and have the same
distribution.

Letters: B images, H height, W width.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.corruptions.gpu import CorruptOnDevice
from fastreid_ext.corruptions.gpu.random_numbers import upload
from fastreid_ext.corruptions.record import BETWEEN_VIEWS
from fastreid_ext.data.transforms.dapg_views import DapgPlan

_CHAINS = 3  # q, k1, k2
Batch = dict[str, Any]


class DapgOnDevice:
    """Make the four views of a batch from three clean ones, by the records.

    Example:
        >>> views = torch.full((1, 3, 3, 64, 32), 100, dtype=torch.uint8)
        >>> record = "fog:1:7|fog:1:8+contrast:1:9|fog:1:1+contrast:1:2+pixelate:1:3|mix:1:0:0:0.5"
        >>> DapgOnDevice()({"images": views, "corruptions": [record]})["images"].shape
        torch.Size([1, 4, 3, 64, 32])
    """

    def __call__(self, batch: Batch) -> Batch:
        """Corrupt and mix; the batch and its tensors are not written to.

        Args:
            batch: ``images`` (B, 3, 3, H, W) uint8, the views v0, v1, v2 of each image, and
                ``corruptions``, B records of four views each.

        Returns:
            A copy of the batch with ``images`` (B, 4, 3, H, W) uint8, the views q, k1, k2, k3.

        Raises:
            ValueError: the batch has another number of views, or a record is not of four views.
        """
        images = batch["images"]
        if images.ndim != 5 or images.shape[1] != _CHAINS:
            raise ValueError(
                f"expected images (B, {_CHAINS}, 3, H, W), the clean views of the recipe dapg, got "
                f"{tuple(images.shape)}; build the loader with INPUT.CORRUPTION.WHERE device"
            )
        records = [text.split(BETWEEN_VIEWS) for text in batch["corruptions"]]
        plans = [DapgPlan.parse(own) for own in records]
        rows = {
            "images": images.flatten(0, 1),
            "corruptions": [text for own in records for text in own[:_CHAINS]],
        }
        noisy = CorruptOnDevice()(rows)["images"].unflatten(0, images.shape[:2])
        mixed = mixtures(images[:, 0], noisy, plans)
        return {**batch, "images": torch.cat([noisy, mixed[:, None]], 1)}

    def __repr__(self) -> str:
        return "DapgOnDevice()"


def mixtures(clean: Tensor, noisy: Tensor, plans: list[DapgPlan]) -> Tensor:
    """Compute k3, the weighted mean of a clean view and three corrupted ones, rounded.

    Args:
        clean: views v0 (B, 3, H, W) uint8.
        noisy: views q, k1, k2 (B, 3, 3, H, W) uint8.
        plans: weights and share of each of the B images.

    Returns:
        (B, 3, H, W) uint8 on the device of ``clean``.
    """
    weights = np.array(
        [[1 - plan.share, *(plan.share * weight for weight in plan.weights)] for plan in plans],
        np.float32,
    )
    columns = upload(weights, clean.device).unbind(1)
    total = torch.full(clean.shape, 0.5, device=clean.device)
    for view, column in zip((clean, *noisy.unbind(1)), columns, strict=True):
        total.addcmul_(view.float(), column[:, None, None, None])
    return total.clamp_(0, 255).to(torch.uint8)
