"""Records of generated images, and the folders in which they are kept.

A generated set is a folder in the *imagefolder* layout of Hugging Face ``datasets``, which opens it
without further code::

    <root>/dataset.json                    origin of the set, and counts; written last
    <root>/<identity>/<name>.jpg           images of one identity (also .jpeg, .png)
    <root>/<identity>/metadata.jsonl       one row per image file
    <root>/<identity>/failures.jsonl       rows of images that failed (no file)

One identity is the unit of work: its images are written first, ``metadata.jsonl`` last and
atomically, so an existing ``metadata.jsonl`` is complete. ``datasets`` needs one type per column in
the whole set; hence unknown values are -1, 0 or "" and never null, and the keys of ``scores`` and
``conditions`` should be the same in all rows (:func:`verify_set` reports differences).
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
