"""Batch step: the corruptions recorded for a batch, applied on its device."""

from typing import Any

import numpy as np

from fastreid_ext.corruptions.gpu.batch import corrupt_batch
from fastreid_ext.corruptions.gpu.random_numbers import upload
from fastreid_ext.corruptions.record import parse_record

Batch = dict[str, Any]


class CorruptOnDevice:
    """Corrupt the images of a batch by their records.

    ``batch["images"]`` is (N, 3, H, W) uint8 on any device, ``batch["corruptions"]`` N records as
    :func:`~fastreid_ext.corruptions.record.record` writes them: "" for an image that
    stays unchanged, "fog:3:81723" for one corruption (name, severity, seed), "fog:3:81723+snow:1:7"
    for two, in this order. Images are replaced in a copy of the batch; the input is not written to.

    Example:
        >>> import torch
        >>> images = torch.full((2, 3, 64, 32), 100, dtype=torch.uint8)
        >>> batch = CorruptOnDevice()({"images": images, "corruptions": ["", "contrast:3:7"]})
        >>> batch["images"].shape
        torch.Size([2, 3, 64, 32])
    """

    def __call__(self, batch: Batch) -> Batch:
        """Corrupt the images of a batch.

        Raises:
            ValueError: records are missing, malformed or not as many as images.
        """
        if "corruptions" not in batch:
            raise ValueError(
                "expected a batch with the entry 'corruptions', got "
                f"{sorted(batch)}; set INPUT.CORRUPTION.WHERE 'device' to sample them"
            )
        images = batch["images"]
        records = batch["corruptions"]
        if len(images) != len(records):
            raise ValueError(
                f"expected a record of corruptions for each of {len(images)} images, got "
                f"{len(records)}; flatten views in both"
            )
        chains = [parse_record(text) for text in records]
        for number in range(max(map(len, chains), default=0)):
            rows = [row for row, chain in enumerate(chains) if len(chain) > number]
            chosen = [chains[row][number] for row in rows]
            columns = zip(*((one.name, one.severity, one.seed) for one in chosen), strict=True)
            if len(rows) == len(images):
                images = corrupt_batch(images, *columns)
            else:
                where = upload(np.array(rows), images.device)
                corrupted = corrupt_batch(images.index_select(0, where), *columns)
                images = images.index_copy(0, where, corrupted)
        return {**batch, "images": images}

    def __repr__(self) -> str:
        return "CorruptOnDevice()"
