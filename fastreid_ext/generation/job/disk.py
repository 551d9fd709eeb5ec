"""The disk of a job: folders that are whole or not there, and what to do when it is full."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".partial"


@contextlib.contextmanager
def whole_folder(target: Path, output: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``target`` when the block ends without an error.

    It lies in ``<output>/.partial``, on the same disk, so that it is moved in one step. A
    ``target`` of before is replaced; what a killed run left there is removed.

    Args:
        target: folder to make, below ``output``.
        output: folder of the job.
    """
    partial = output / PARTIAL / str(target.relative_to(output)).replace(os.sep, "--")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


def expect_room(output: Path, needed: int) -> None:
    """Raise OSError if there are fewer than ``needed`` bytes free for the job in ``output``."""
    free = shutil.disk_usage(output).free
    if free < needed:
        raise OSError(
            f"expected about {needed / 1e9:.1f} GB free for what is left to do, got "
            f"{free / 1e9:.1f} GB at {output}; make room, or choose another OUTPUT_DIR"
        )


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk is full; safetensors and torch say so in words only."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_full or os.strerror(errno.ENOSPC) in str(error)
