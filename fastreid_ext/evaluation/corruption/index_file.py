"""Reading and writing a :class:`~fastreid_ext.evaluation.corruption.index.CorruptionIndex`.

The file has a header line of JSON (``HEADER_KEYS``), then one line of JSON per image, sorted by
name; it is gzipped if its name ends in ``.gz``. Equal arguments and versions give equal bytes.
``rows_sha256`` does not depend on versions and names the index in tables.
"""

import gzip
import importlib.metadata
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES
from fastreid_ext.corruptions.cpu.corrupt import SEVERITIES
from fastreid_ext.corruptions.record import Corruption
from fastreid_ext.evaluation.corruption.index import CorruptionIndex, corruption_arrays

FORMAT = "fastreid_ext corruption index 1"
HEADER_KEYS = (
    "format", "data_set", "side", "seed", "repeats", "corruptions", "severities", "protocol",
    "images", "images_sha256", "rows_sha256", "versions",
)  # fmt: skip
_PROTOCOL = "repeats: uniform over corruptions and severities; grid: every pair, one seed per image"
_PACKAGES = ("fastreid_ext", "numpy", "opencv-python-headless", "Pillow")
_ADVICE = "restore the file, or move it away to make a new one"


def write_index(index: CorruptionIndex, path: Path) -> None:
    """Write an index atomically.

    Raises:
        OSError: the folder cannot be written to.
    """
    header = {
        "format": FORMAT,
        "data_set": index.data_set,
        "side": index.side,
        "seed": index.seed,
        "repeats": index.repeats,
        "corruptions": index.corruptions,
        "severities": SEVERITIES,
        "protocol": _PROTOCOL,
        "images": len(index.names),
        "images_sha256": index.images_sha256,
        "rows_sha256": index.rows_sha256,
        "versions": pixel_versions(),
    }
    data = "".join(f"{line}\n" for line in [json.dumps(header), *index.rows()]).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def read_index(path: Path) -> CorruptionIndex:
    """Read an index and check it against the hashes in its header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no index, is damaged, or names unknown corruptions.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no -C index at {path}; give an existing one, or none to make it")
    lines = _lines(path)
    header = _header(path, lines[0] if lines else "")
    try:
        index = _parsed(header, lines[1:])
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path}: expected lines of JSON with an image, its fingerprint, {header['repeats']} "
            f"corruptions such as fog:3:81723 and grid_seed, got {type(error).__name__}: {error}; "
            f"{_ADVICE}"
        ) from error
    count = header["images"]
    found = (index.rows_sha256, index.images_sha256)
    if len(index.names) != count or found != (header["rows_sha256"], header["images_sha256"]):
        raise ValueError(
            f"{path}: expected the {count} images that were written, got {len(index.names)} or "
            f"changed ones (rows_sha256 {found[0]}); {_ADVICE}"
        )
    return index


def pixel_versions() -> dict[str, str | None]:
    """List versions of the libraries that read and corrupt images; None where unknown."""
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    found["libjpeg of Pillow"] = features.version("libjpeg_turbo") or features.version("jpg")
    return found


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected text, gzipped if .gz, got: {error}; {_ADVICE}"
        ) from error


def _header(path: Path, line: str) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}:1: expected a line of JSON, got: {error}; {_ADVICE}") from error
    missing = [key for key in HEADER_KEYS if not isinstance(header, dict) or key not in header]
    if missing:
        raise ValueError(
            f"{path}:1: expected the keys {', '.join(HEADER_KEYS)}, got a header without "
            f"{', '.join(missing)}; is it a -C index?"
        )
    if header["format"] != FORMAT or tuple(header["severities"]) != SEVERITIES:
        raise ValueError(
            f"{path}:1: expected format '{FORMAT}' with severities 1-5, got '{header['format']}' "
            f"with {header['severities']}; use the version of fastreid_ext that made it"
        )
    unknown = [name for name in header["corruptions"] if name not in CORRUPTION_NAMES]
    if unknown:
        raise ValueError(
            f"{path}:1: unknown corruption '{unknown[0]}'; known: {', '.join(CORRUPTION_NAMES)}"
        )
    return header


def _parsed(header: dict[str, Any], lines: list[str]) -> CorruptionIndex:
    names = []
    prints = []
    grid_seeds = []

    def sampled() -> Iterator[list[Corruption]]:
        for line in lines:
            row = json.loads(line)
            names.append(row["image"])
            prints.append(row["fingerprint"])
            grid_seeds.append(row["grid_seed"])
            corruptions = [Corruption.parse(text) for text in row["repeats"]]
            for corruption in corruptions:
                if corruption.severity not in SEVERITIES or corruption.seed >= 2**32:
                    raise ValueError(f"{corruption}, a severity or seed out of range")
            yield corruptions

    arrays = corruption_arrays(sampled(), (len(lines), header["repeats"]), header["corruptions"])
    return CorruptionIndex(
        data_set=header["data_set"],
        side=header["side"],
        seed=header["seed"],
        corruptions=tuple(header["corruptions"]),
        names=tuple(names),
        fingerprints=tuple(prints),
        grid_seeds=np.array(grid_seeds, np.uint32),
        **arrays,
    )
