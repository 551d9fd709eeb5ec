"""Short hashes of image files that reveal changed images.

A fingerprint is the first 128 bits, in hexadecimal, of the SHA-256 of a file's bytes. PNG and BMP
files, which some data sets unpack on each machine with the encoder installed there, are hashed by
size and decoded pixels instead.
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
    """Hash files in parallel and map each name to its fingerprint.

    Args:
        files: path of each image file, by name.

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
    """Hash one image file to 32 hexadecimal digits.

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
