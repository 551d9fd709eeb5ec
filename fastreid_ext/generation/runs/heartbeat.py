"""Lock on a file system without flock: a file that its owner touches while it works.

Only one process can create the file (O_EXCL). A process that finds it watches it: a file that is
touched has a working owner; one that is not touched for a while was left by a killed process and is
taken over. Only changes of the file are watched, so clocks need not agree.
"""

import contextlib
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

BEAT = 15.0  # seconds between two touches
STALE = 60.0  # seconds without one after which the owner counts as gone
_log = logging.getLogger(__name__)


class HeldError(Exception):
    """Error for a file that another process holds; the message names the process."""


@contextlib.contextmanager
def heartbeat_lock(path: Path) -> Iterator[float]:
    """Own a file within the block.

    Args:
        path: lock file, whose folder exists.

    Yields:
        Time of creation by the clock of the file system, in seconds.

    Raises:
        HeldError: another process owns it.
    """
    own = json.dumps({"process": os.getpid(), "host": platform.node(), "mark": uuid.uuid4().hex})
    while not _created(path, own):
        _expect_abandoned(path)
        _take_away(path)
    began = path.stat().st_mtime
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, own, stop), daemon=True)
    beating.start()
    try:
        yield began
    finally:
        stop.set()
        beating.join()
        if _read(path) == own:
            path.unlink(missing_ok=True)


def is_beating(path: Path) -> bool:
    """Tell whether the owner of a lock file still works, within :data:`STALE` seconds.

    Args:
        path: lock file of another process.
    """
    before = _touched(path)
    end = time.monotonic() + STALE
    while before is not None and time.monotonic() < end:
        time.sleep(min(1.0, BEAT / 2))
        if (now := _touched(path)) != before:
            return now is not None
    return False


def owner_of(path: Path) -> str:
    """Describe the process that owns a lock file.

    Args:
        path: lock file of another process.
    """
    try:
        owner = json.loads(_read(path))
        return f"process {owner['process']} on {owner['host']}"
    except (KeyError, TypeError, ValueError):
        return "one that just started"


def _created(path: Path, own: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(own)
    return True


def _expect_abandoned(path: Path) -> None:
    _log.info("watching %s for %g s: does its owner still work?", path, STALE)
    if is_beating(path):
        raise HeldError(owner_of(path))


def _take_away(path: Path) -> None:
    """Remove an abandoned file, unless another process has just taken it over."""
    seen = _read(path)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != seen:  # it was taken over between the two lines above: give it back
        if not path.exists():
            os.rename(aside, path)
    aside.unlink(missing_ok=True)


def _beat(path: Path, own: str, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        if _read(path) not in (own, ""):
            _log.error("%s was taken over by %s; stop one of the two", path, owner_of(path))
            return
        try:
            os.utime(path)
        except OSError as error:
            _log.warning("%s could not be touched: %s", path, error)


def _touched(path: Path) -> tuple[int, str] | None:
    try:
        return path.stat().st_mtime_ns, _read(path)
    except FileNotFoundError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
