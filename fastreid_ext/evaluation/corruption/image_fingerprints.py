"""Short hashes of image files, by which a changed image is noticed.

A fingerprint is the SHA-256 of the file's bytes. Of PNG and BMP files, which some data sets unpack
on each machine with whatever encoder there is, it is that of size and decoded pixels. The first 128
bits, in hexadecimal.
"""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from fastreid_ext.data.dataset import read_rgb

_WITHOUT_LOSS = {".png", ".bmp"}
_MANY = 2000  # files below which no progress is shown


def fingerprints(files: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprint of each file, under its name.

    Args:
        files: path of each name.

    Raises:
        OSError: a file cannot be read; the message names it.
    """
    paths = list(files.values())
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        found = tqdm(
            threads.map(fingerprint, paths),
            total=len(paths),
            desc="hashing images",
            unit="image",
            disable=len(paths) < _MANY,
        )
        return dict(zip(files, found, strict=True))


def fingerprint(path: str) -> str:
    """Return 32 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    if Path(path).suffix.lower() in _WITHOUT_LOSS:
        image = read_rgb(path)
        content = f"{image.size}".encode() + image.tobytes()
    else:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise OSError(f"cannot read image {path}: {error}; restore the data set") from error
    return hashlib.sha256(content).hexdigest()[:32]
