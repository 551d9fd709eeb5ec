"""Write files and folders so that each is either complete or absent."""

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # error numbers of a full disk or quota
PARTIAL_FILES = ".*.partial"  # what a killed process leaves
PARTIAL = ".partial"  # folder of folders that are being written
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def atomic_write(path: str | Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Give a binary file that becomes ``path`` when the block ends without an error.

    Written to a temporary file in the same folder, flushed to the disk, then moved in place in one
    step: a crash, a full disk or SIGKILL leaves the earlier ``path`` as it was.

    Args:
        path: name of the file to write.
        durable: whether to wait for the disk, so that the file survives a power cut. False is for
            files of a folder that is brought to the disk as a whole.

    Raises:
        OSError: as the file system says; the temporary file is removed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes never mix
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def expect_writable(path: str | Path, *, is_folder: bool = False) -> Path:
    """Return ``path`` after trying to write where it will lie; commands ask before they compute.

    Args:
        path: name of the file to write.
        is_folder: whether ``path`` is the folder of what will be written.

    Raises:
        OSError: the folder cannot be made or written to, or a folder lies in the file's place.
    """
    path = Path(path)
    folder = path if is_folder else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"expected to write {path}, but {folder} cannot be written to ({error.strerror}); give "
            "another path, or the rights to write there"
        ) from error
    if not is_folder and path.is_dir():
        raise OSError(f"expected the name of a file to write, got a folder: {path}")
    return path


def atomic_write_bytes(path: str | Path, data: bytes, *, durable: bool = True) -> None:
    """Write bytes as :func:`atomic_write` does."""
    with atomic_write(path, durable=durable) as file:
        file.write(data)


def atomic_write_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Write a text file as :func:`atomic_write` does."""
    atomic_write_bytes(path, text.encode(), durable=durable)


def create_text(path: str | Path, text: str) -> bool:
    """Write a text file that does not exist; of several processes one alone does.

    Returns:
        Whether this process wrote it.

    Raises:
        OSError: as the file system says.
    """
    path = Path(path)
    own = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.name}.{own}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        return _create_without_links(path, text)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _create_without_links(path: Path, text: str) -> bool:
    """As :func:`create_text`; a reader may see a part of the file for a moment."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Put a rename itself on the disk, so that it survives a power cut.

    Some network and user-space file systems cannot do that for a folder, and are left to
    themselves.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def one_writer(path: str | Path) -> Iterator[None]:
    """Let one process at a time run the block that writes ``path``; others wait for it.

    The lock is ``.<name>.lock`` beside the file. It ends with its process, even a killed one, whose
    temporary files are removed.

    Args:
        path: name of the file to write, in a folder that exists.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Waiting for another process that writes %s", path)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".{path.name}.*.partial"):
            left.unlink()  # its process was killed; a live one would hold the lock
        yield


def reserve_space(opened: BinaryIO, size: int) -> None:
    """Reserve the disk space of a file, so that a full disk is noticed before work is done.

    A file system that cannot do this is left to itself: writing finds out.

    Args:
        opened: file opened for writing.
        size: bytes of the whole file.

    Raises:
        OSError: the disk is full; the error number is one of :data:`DISK_FULL`.
    """
    try:
        os.posix_fallocate(opened.fileno(), 0, max(size, 1))
    except OSError as error:
        if error.errno in DISK_FULL:
            raise


@contextlib.contextmanager
def whole_folder(target: Path, output: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``target`` when the block ends without an error.

    It lies in ``<output>/.partial``, on the same disk, so that it is moved in one step. A
    ``target`` of before stays until then; what a killed run left is removed. All files of the
    folder are brought to the disk at once before it is moved, so none of them needs a sync of its
    own.

    Args:
        target: folder to make, below ``output``.
        output: folder of the whole job.
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
