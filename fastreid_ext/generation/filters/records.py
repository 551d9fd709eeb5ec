"""Records of the image files of one identity: ``filter/scored/<identity>.json``.

A record names the models that have scored the files and holds perceptual hashes, by which
duplicates are found without opening an image.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import sched_getaffinity
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.generation.filters.duplicates import hash_of
from fastreid_ext.generation.runs.disk import is_outage
from fastreid_ext.manifest import Row, sha256_of

Pixels = NDArray[np.uint8]
_THREADS = min(8, len(sched_getaffinity(0)))


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """Record of one image file.

    Attributes:
        sha256: SHA-256 in the row of the image when the record was written.
        hash: perceptual hash of the image; "" if the file cannot be read.
        problem: reason why the file cannot be read; "" if it can.
    """

    sha256: str
    hash: str
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class IdentityRecord:
    """Record of the files of one identity.

    Attributes:
        models: filter -> fingerprint of the model that has scored the files.
        files: ``file_name`` of a row -> record of the file.
    """

    models: Mapping[str, str]
    files: Mapping[str, FileRecord]

    def fits(self, rows: Sequence[Row]) -> bool:
        """Check that this record describes exactly the files of ``rows`` (same names and SHA-256).

        Only files that could not be read are opened again: they may have been restored.
        """
        own = {row.image.file_name: row for row in rows if has_file(row)}
        if own.keys() != self.files.keys():
            return False
        return all(
            file.sha256 == own[name].image.sha256
            and (not file.problem or file == _file_record(own[name], _read(own[name].path)))
            for name, file in self.files.items()
        )


def has_file(row: Row) -> bool:
    """Check that a row has an image file."""
    return row.image.status != "failed"


def read_images(paths: Sequence[Path], *, must_reach: bool = False) -> list[Pixels | str]:
    """Read images in threads.

    Args:
        paths: paths of the image files to read.
        must_reach: whether a file out of reach raises an error, unlike a damaged one.

    Returns:
        For each path the image (H, W, 3) uint8 RGB, or the reason why it cannot be read.

    Raises:
        OSError: a file cannot be reached, with ``must_reach``.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_read_reachable if must_reach else _read, paths))


def make_record(rows: Sequence[Row], images: Sequence[Pixels | str]) -> IdentityRecord:
    """Hash the files of an identity.

    Args:
        rows: rows of the identity that have a file.
        images: images of the rows by :func:`read_images`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        files = list(pool.map(_file_record, rows, images))
    names = [row.image.file_name for row in rows]
    return IdentityRecord({}, dict(zip(names, files, strict=True)))


def write_record(path: Path, record: IdentityRecord) -> None:
    """Write a record atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(dataclasses.asdict(record)) + "\n")


def read_record(path: Path) -> IdentityRecord | None:
    """Read a record; None if it is missing or damaged, since images and models can restore it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileRecord(**file) for name, file in values["files"].items()}
        return IdentityRecord(dict(values["models"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(path: Path) -> Pixels | str:
    try:
        return read_pixels(path)
    except OSError as error:
        return str(error).split("; run tools/check_data.py")[0]


def _read_reachable(path: Path) -> Pixels | str:
    try:
        return read_pixels(path)
    except OSError as error:
        if is_outage(error):
            raise
        return str(error).split("; run tools/check_data.py")[0]


def _file_record(row: Row, image: Pixels | str) -> FileRecord:
    if isinstance(image, str):
        return FileRecord(row.image.sha256, "", image)
    if sha256_of(row.path) != row.image.sha256:
        problem = f"{row.path.name} has another sha256 than its row; was it changed?"
        return FileRecord(row.image.sha256, "", problem)
    return FileRecord(row.image.sha256, hash_of(image))
