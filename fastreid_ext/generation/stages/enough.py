"""Generate until enough images of an identity pass: SAMPLING.MIN_KEPT.

How many to generate next follows from how many there are and how many of those pass, so a job that
was stopped goes on as one that never was. When an identity has enough its worker says so in
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
    """Return how many images an identity should have in the next round; 0 = it has enough.

    As many as are missing at the share that passed so far, at most twice as many as there are.

    Args:
        count: images there are, failed ones included.
        kept: those that pass the filters.
        least: MIN_KEPT.
        most: MAX_IMAGES_PER_IDENTITY.

    Example:
        >>> next_number(10, 5, 8, 100), next_number(10, 0, 8, 100), next_number(10, 8, 8, 100)
        (16, 20, 0)
    """
    if kept >= least or count >= most:
        return 0
    at_this_share = math.ceil(least * count / kept) if kept else 2 * count
    return min(most, 2 * count, max(at_this_share, count + 1))


class Enough:
    """Which identities of a job have enough images that pass.

    Args:
        cfg: configuration of the job.
    """

    def __init__(self, cfg: CfgNode) -> None:
        sampling = cfg.GENERATION.SAMPLING
        self._layout = Layout(Path(cfg.OUTPUT_DIR))
        self._least, self._most = sampling.MIN_KEPT, sampling.MAX_IMAGES_PER_IDENTITY
        asked = f"{self._least} of {self._most} {cfg.GENERATION.FILTER.dump()}"
        self._asked = hashlib.sha256(asked.encode()).hexdigest()

    def is_reached(self, name: str) -> bool:
        """Whether an identity was found to have enough, with the images and filters of now."""
        if not self._least:
            return True
        try:
            text = self._file(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return text == self._said(name)

    def next_number(self, name: str) -> int:
        """Return how many images to have next; if 0, note that the identity has enough."""
        rows = read_identity(self._layout.images / name)
        kept = sum(row.image.status == "ok" for row in rows)
        number = next_number(len(rows), kept, self._least, self._most)
        if not number:
            self._file(name).parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(self._file(name), self._said(name))
        return number

    def _said(self, name: str) -> str:
        said = {"images": self._layout.image_count(name), "asked": self._asked}
        return json.dumps(said) + "\n"

    def _file(self, name: str) -> Path:
        return self._layout.filter / "enough" / f"{name}.json"
