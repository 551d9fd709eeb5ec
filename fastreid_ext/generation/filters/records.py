"""What is known of the files of one identity beside its rows: ``filter/scored/<identity>.json``.

It says which models have scored the files, and has their perceptual hashes, from which duplicates
are found without opening an image.
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
    """One image file.

    Attributes:
        sha256: of the row this was written for.
        hash: perceptual hash, "" if the file cannot be read.
        problem: why it cannot be read, "" if it can.
    """

    sha256: str
    hash: str
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class IdentityRecord:
    """The files of one identity.

    Attributes:
        models: filter -> fingerprint of the model that has scored the files.
        files: ``file_name`` of a row -> what is known of it.
    """

    models: Mapping[str, str]
    files: Mapping[str, FileRecord]

    def fits(self, rows: Sequence[Row]) -> bool:
        """Whether this says what is so of exactly these rows' files.

        Only files that could not be read are looked at again: they may be restored by now.
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
    """Whether an image belongs to a row."""
    return row.image.status != "failed"


def read_images(paths: Sequence[Path], *, must_reach: bool = False) -> list[Pixels | str]:
    """Return images (H, W, 3) RGB in [0, 255], or in their place why they cannot be read.

    Args:
        paths: image files.
        must_reach: whether a file out of reach is an error, other than a damaged one.

    Raises:
        OSError: a file cannot be reached, with ``must_reach``.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_read_reachable if must_reach else _read, paths))


def make_record(rows: Sequence[Row], images: Sequence[Pixels | str]) -> IdentityRecord:
    """Look at the files of an identity.

    Args:
        rows: those with a file.
        images: of them, from :func:`read_images`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        files = list(pool.map(_file_record, rows, images))
    names = [row.image.file_name for row in rows]
    return IdentityRecord({}, dict(zip(names, files, strict=True)))


def write_record(path: Path, record: IdentityRecord) -> None:
    """Write a record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(dataclasses.asdict(record)) + "\n")


def read_record(path: Path) -> IdentityRecord | None:
    """Return what :func:`write_record` wrote; None if nothing, or nothing of use, is there.

    All of it can be made again from images and models.
    """
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
