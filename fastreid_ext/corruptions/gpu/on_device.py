"""A step of the loader: the corruptions that were drawn for a batch, done on its device."""

from typing import Any

import numpy as np

from fastreid_ext.corruptions.gpu.batch import corrupt_batch
from fastreid_ext.corruptions.gpu.draws import upload
from fastreid_ext.corruptions.record import parse_record

Batch = dict[str, Any]


class CorruptOnDevice:
    """Corrupt the images of a batch as its records say.

    ``batch["images"]`` is (N, 3, H, W) uint8 on any device, ``batch["corruptions"]`` N records as
    :func:`~fastreid_ext.corruptions.record.record` writes them: "" for an image that
    stays as it is, "fog:3:81723" for one corruption (name, severity, seed), "fog:3:81723+snow:1:7"
    for two, in this order. Images are replaced in a copy of the batch; nothing is written to.
    """

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with corrupted images.

        Raises:
            ValueError: records are missing, malformed or not as many as images.
        """
        if "corruptions" not in batch:
            raise ValueError(
                "expected a batch with the entry 'corruptions', got "
                f"{sorted(batch)}; draw them with INPUT.CORRUPTION.WHERE 'device'"
            )
        images, records = batch["images"], batch["corruptions"]
        if len(images) != len(records):
            raise ValueError(
                f"expected a record of corruptions for each of {len(images)} images, got "
                f"{len(records)}; views are to be flattened in both"
            )
        chains = [parse_record(text) for text in records]
        for number in range(max(map(len, chains), default=0)):
            rows = [row for row, chain in enumerate(chains) if len(chain) > number]
            drawn = [chains[row][number] for row in rows]
            columns = zip(*((one.name, one.severity, one.seed) for one in drawn), strict=True)
            if len(rows) == len(images):
                images = corrupt_batch(images, *columns)
            else:
                where = upload(np.array(rows), images.device)
                corrupted = corrupt_batch(images.index_select(0, where), *columns)
                images = images.index_copy(0, where, corrupted)
        return {**batch, "images": images}

    def __repr__(self) -> str:
        return "CorruptOnDevice()"
