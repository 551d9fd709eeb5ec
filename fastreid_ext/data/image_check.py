"""Look at image files before training starts: which cannot be read, and what the others show."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from torch.utils.data import DataLoader, Dataset

from fastreid_ext.data.dataset import read_rgb

logger = logging.getLogger(__name__)

_FILES_PER_BATCH = 256
_SECONDS_BETWEEN_REPORTS = 10
# Below this many files, starting processes takes longer than they save.
_FEW_FILES = 2000


def unreadable_images(
    paths: Sequence[str], *, decode: bool, workers: int | None = None
) -> list[tuple[str, str]]:
    """List (path, reason) of each file that cannot be read, in the order of ``paths``.

    Args:
        paths: paths of the image files to check.
        decode: whether to decode the pixels as training does; otherwise only headers are read.
        workers: number of processes; None = one for each core, at most 16.
    """
    batches = _batches(_Reasons(paths, decode), workers)
    broken: list[tuple[str, str]] = []
    reported = time.monotonic()
    done = 0
    for reasons in batches:
        broken += [(paths[done + i], reason) for i, reason in enumerate(reasons) if reason]
        done += len(reasons)
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            logger.info("Checked %d of %d images, %d unreadable", done, len(paths), len(broken))
    return broken


def over_images(
    paths: Sequence[str], function: Callable[[Image.Image], Any], *, workers: int | None = None
) -> list[Any]:
    """Apply a function to each image, in the order of ``paths``; None where one cannot be read.

    Args:
        paths: paths of the image files.
        function: function from an RGB image to a small result; on several processes, one that can
            be pickled.
        workers: number of processes; None = one for each core, at most 16.
    """
    return [value for batch in _batches(_Values(paths, function), workers) for value in batch]


def _batches(files: Dataset, workers: int | None) -> DataLoader:
    if workers is None:
        cores = min(len(os.sched_getaffinity(0)), 16)
        workers = cores if len(files) > _FEW_FILES else 0
    return DataLoader(files, batch_size=_FILES_PER_BATCH, num_workers=workers, collate_fn=list)


class _Values(Dataset):
    """Value of a function for each image; None where it cannot be read."""

    def __init__(self, paths: Sequence[str], function: Callable[[Image.Image], Any]) -> None:
        self._paths = paths
        self._function = function

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        try:
            image = read_rgb(self._paths[index])
        except OSError:
            return None
        return self._function(image)


class _Reasons(Dataset):
    """Reason why each file cannot be read; "" for a readable one."""

    def __init__(self, paths: Sequence[str], decode: bool) -> None:
        self._paths = paths
        self._decode = decode

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> str:
        path = self._paths[index]
        try:
            if self._decode:
                read_rgb(path)
            else:
                with Image.open(path):
                    pass
        except OSError as error:
            reason = error.__cause__ or error
            # Pillow puts the path into some of its messages.
            return str(reason).replace(f" {path!r}", "") or type(reason).__name__
        return ""
