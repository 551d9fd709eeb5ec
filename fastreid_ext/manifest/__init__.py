"""The record of a generated image, and the folders in which such records are kept.

A generated set is a folder in the *imagefolder* layout of Hugging Face ``datasets``, which opens it
without code of ours::

    <root>/dataset.json                    what made the set, and counts; written last
    <root>/<identity>/<name>.jpg           images of one identity (also .jpeg, .png)
    <root>/<identity>/metadata.jsonl       one row for each image file
    <root>/<identity>/failures.jsonl       rows of images that could not be made (no file)

One identity is the unit of work: its images are written first, ``metadata.jsonl`` last and in one
move, so a ``metadata.jsonl`` that exists is complete. ``datasets`` wants each column to have one
type in the whole set; hence "not known" is -1, 0 or "" here and never null, and the keys of
``scores`` and ``conditions`` should be the same in all rows (:func:`verify_set` says if not).
"""

from fastreid_ext.manifest.folder import (
    Row,
    read_identity,
    read_set,
    sha256_of,
    verify_set,
    write_identity,
    write_set,
)
from fastreid_ext.manifest.record import SCHEMA_VERSION, GeneratedImage, GeneratedSet

__all__ = [
    "SCHEMA_VERSION",
    "GeneratedImage",
    "GeneratedSet",
    "Row",
    "read_identity",
    "read_set",
    "sha256_of",
    "verify_set",
    "write_identity",
    "write_set",
]
