"""The disk of a job: room, and errors that no identity is to blame for."""

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path


def expect_room(output: Path, needed: int) -> None:
    """Raise OSError if there are fewer than ``needed`` bytes free for the job in ``output``."""
    free = shutil.disk_usage(output).free
    if free < needed:
        raise OSError(
            f"expected about {needed / 1e9:.1f} GB free for what is left to do, got "
            f"{free / 1e9:.1f} GB at {output}; make room, or choose another OUTPUT_DIR"
        )


class OutageError(OSError):
    """Files could not be reached: the disk or its access is at fault, not an identity."""


def is_outage(error: BaseException | None) -> bool:
    """Tell an error of the operating system from a file with damaged content.

    Libraries that decode a damaged file raise errors without a number of the system, so the number
    decides, of the error or of those that it was raised from.

    Args:
        error: caught error.
    """
    while error is not None:
        has_number = isinstance(error, OSError) and error.errno is not None
        if has_number or isinstance(error, OutageError) or _tells_number(error):
            return True
        error = error.__cause__
    return False


def _tells_number(error: BaseException) -> bool:
    """Whether safetensors names a number of the system, which it does in words only."""
    return re.search(r"\(os error \d+\)", str(error)) is not None


def expect_writable(output: Path, folders: Sequence[Path]) -> None:
    """Write to each folder of a job and remove what was written.

    Args:
        output: folder of the job.
        folders: folders below it; those that do not exist are made when they are needed.

    Raises:
        OutageError: one cannot be written to.
    """
    for folder in (output, *folders):
        if not os.path.lexists(folder):
            continue
        probe = folder / f".writable.{os.getpid()}"
        try:
            probe.write_bytes(b"1")
            probe.unlink()
        except OSError as error:
            raise OutageError(
                f"expected a folder to write to at {folder}, got {type(error).__name__} "
                f"({error.strerror}); correct its permissions or its disk, or choose another "
                "OUTPUT_DIR"
            ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk is full; safetensors and torch say so in words only."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_full or os.strerror(errno.ENOSPC) in str(error)
