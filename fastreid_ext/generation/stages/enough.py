"""Generate until enough images of an identity pass: SAMPLING.MIN_KEPT.

The next number follows from how many images exist and how many of them pass, so a job that was
stopped continues like one that never was. When an identity has enough, its worker writes
``filter/enough/<identity>.json``, for which the worker that finishes the set waits.
"""

import hashlib
import json
import math
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.manifest import read_identity


def next_number(count: int, kept: int, least: int, most: int) -> int:
    """Compute how many images an identity should have in the next round.

    The number that reaches ``least`` at the share that passed so far, but at most twice as many as
    exist.

    Args:
        count: number of images that exist, failed ones included.
        kept: number of images that pass the filters.
        least: wanted number of passing images, SAMPLING.MIN_KEPT.
        most: maximum number of images, SAMPLING.MAX_IMAGES_PER_IDENTITY.

    Returns:
        Number of images, or 0 for an identity that has enough.

    Example:
        >>> next_number(10, 5, 8, 100), next_number(10, 0, 8, 100), next_number(10, 8, 8, 100)
        (16, 20, 0)
    """
    if kept >= least or count >= most:
        return 0
    at_this_share = math.ceil(least * count / kept) if kept else 2 * count
    return min(most, 2 * count, max(at_this_share, count + 1))


class Enough:
    """Record of the identities of a job that have enough images that pass.

    Args:
        cfg: full configuration of the job.
    """

    def __init__(self, cfg: CfgNode) -> None:
        sampling = cfg.GENERATION.SAMPLING
        self._layout = Layout(Path(cfg.OUTPUT_DIR))
        self._least = sampling.MIN_KEPT
        self._most = sampling.MAX_IMAGES_PER_IDENTITY
        asked = f"{self._least} of {self._most} {cfg.GENERATION.FILTER.dump()}"
        self._asked = hashlib.sha256(asked.encode()).hexdigest()

    def is_reached(self, name: str) -> bool:
        """Tell whether an identity has enough, with its current images and filters.

        Args:
            name: name of one identity.
        """
        if not self._least:
            return True
        try:
            text = self._file(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return text == self._record(name)

    def next_number(self, name: str) -> int:
        """Compute how many images an identity should have next; record it if it has enough.

        Args:
            name: name of an identity whose images are decided.

        Returns:
            Number of images, or 0 for an identity that has enough.
        """
        rows = read_identity(self._layout.images / name)
        kept = sum(row.image.status == "ok" for row in rows)
        number = next_number(len(rows), kept, self._least, self._most)
        if not number:
            self._file(name).parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(self._file(name), self._record(name))
        return number

    def _record(self, name: str) -> str:
        record = {"images": self._layout.image_count(name), "asked": self._asked}
        return json.dumps(record) + "\n"

    def _file(self, name: str) -> Path:
        return self._layout.filter / "enough" / f"{name}.json"
