"""Free space and write access of a job's disk, and errors that are no identity's failure."""

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path


def expect_room(output: Path, needed: int) -> None:
    """Check the free space of the disk.

    Args:
        output: folder of the whole job.
        needed: number of bytes that the work still to do will take.

    Raises:
        OSError: fewer bytes are free.
    """
    free = shutil.disk_usage(output).free
    if free < needed:
        raise OSError(
            f"expected about {needed / 1e9:.1f} GB free for the remaining work, got "
            f"{free / 1e9:.1f} GB at {output}; make room, or choose another OUTPUT_DIR"
        )


class OutageError(OSError):
    """Error for files that cannot be reached: the disk is at fault, not an identity."""


def is_outage(error: BaseException | None) -> bool:
    """Tell an error of the operating system from a file with damaged content.

    Libraries that decode a damaged file raise errors without an errno, so the errno decides: that
    of the error or of the errors it was raised from.

    Args:
        error: error that was caught; None tells False.
    """
    while error is not None:
        has_number = isinstance(error, OSError) and error.errno is not None
        if has_number or isinstance(error, OutageError) or _tells_number(error):
            return True
        error = error.__cause__
    return False


def _tells_number(error: BaseException) -> bool:
    """Tell whether safetensors names an errno, which it does in the message only."""
    return re.search(r"\(os error \d+\)", str(error)) is not None


def expect_writable_folders(output: Path, folders: Sequence[Path]) -> None:
    """Write a file to each folder of a job and remove it.

    Unlike :func:`fastreid_ext.atomic.expect_writable` it makes no folder.

    Args:
        output: folder of the whole job.
        folders: folders below it; missing ones are skipped, since stages make them when needed.

    Raises:
        OutageError: a folder cannot be written to.
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
    """Tell whether an error means a full disk; safetensors and torch say so in the message only.

    Args:
        error: error that the work raised.
    """
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_full or os.strerror(errno.ENOSPC) in str(error)
