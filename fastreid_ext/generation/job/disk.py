"""The disk of a job: whole folders, room, and errors that no identity is to blame for."""

import contextlib
import ctypes
import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastreid_ext.atomic import sync_folder

PARTIAL = ".partial"
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def whole_folder(target: Path, output: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``target`` when the block ends without an error.

    It lies in ``<output>/.partial``, on the same disk, so that it is moved in one step. A
    ``target`` of before stays until then; what a killed run left is removed. All files of the
    folder are brought to the disk at once before it is moved, so none of them needs a sync of its
    own.

    Args:
        target: folder to make, below ``output``.
        output: folder of the job.
    """
    partial = output / PARTIAL / str(target.relative_to(output)).replace(os.sep, "--")
    before = partial.with_name(f"{partial.name}.before")
    for left in (partial, before):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    target.parent.mkdir(parents=True, exist_ok=True)
    _sync_file_system(partial)
    if target.exists():
        os.rename(target, before)
    try:
        os.replace(partial, target)
    except BaseException:
        if before.exists():
            os.rename(before, target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(before, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file that is never written to again a second name, or copy it to another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _sync_file_system(folder: Path) -> None:
    """Bring everything that was written to a folder's file system to its disk, with one call."""
    if not hasattr(_LIBC, "syncfs"):
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _LIBC.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


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
