"""Comparison of corrupted pixels between machines, by short hashes of the images.

Libraries that read JPEG or compute a sine may differ in single bits between machines. The first
evaluation with --pixels keeps the hashes in a file next to the index; every later one, on any
machine, reports the share of corrupted images that differ. A difference is not an error.

The file has a header line of JSON, then one line per image with its CRC-32 in each repeat.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.evaluation.corruption.index import CorruptionIndex
from fastreid_ext.evaluation.corruption.index_file import pixel_versions

logger = logging.getLogger(__name__)

FORMAT = "fastreid_ext corrupted pixels 1"


def pixels_file(index_file: Path, size: Sequence[int] | None = None) -> Path:
    """Name the file of hashes of an index.

    Args:
        index_file: path of the index, such as ``a.jsonl.gz``.
        size: height and width at which images are corrupted, which give ``a.288x144.pixels.jsonl``;
            None = their own sizes, ``a.pixels.jsonl``.
    """
    at = "" if size is None else "." + "x".join(map(str, size))
    return index_file.with_name(index_file.name.split(".")[0] + f"{at}.pixels.jsonl")


def compare_pixels(
    index_file: Path,
    index: CorruptionIndex,
    found: Sequence[dict[str, int]],
    *,
    write: bool,
    size: Sequence[int] | None = None,
) -> dict[str, Any] | None:
    """Compare hashes with those kept next to the index, or write them there.

    Args:
        index_file: path of the index; the hashes are in the same folder.
        index: corruption index that was evaluated.
        found: hash of each corrupted image by name, for each repeat.
        write: whether to write the hashes if there are none yet.
        size: height and width at which images were corrupted; None = their own sizes.

    Returns:
        Counts of compared and of differing images, also by corruption; None if there are no hashes
        to compare with.

    Raises:
        ValueError: the file of hashes belongs to another index, or is damaged.
    """
    file = pixels_file(index_file, size)
    if not file.is_file():
        if write:
            _write(file, index, found)
        return None
    known = _read(file, index)
    row = {name: i for i, name in enumerate(index.names)}
    compared: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    for repeat, hashes in enumerate(found):
        for name, value in hashes.items():
            if repeat < len(known.get(name, [])):
                corruption = index.in_repeat(row[name], repeat).name
                compared[corruption] += 1
                differing[corruption] += known[name][repeat] != value
    if not compared:
        return None
    count = differing.total()
    total = compared.total()
    logger.info("%d of %d corrupted images differ from %s", count, total, file)
    return {
        "compared": total,
        "different": count,
        "share": count / total,
        "different_by_corruption": {name: n for name, n in differing.items() if n},
    }


def installation_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """List differences between two evaluations that can change corrupted pixels.

    Args:
        ours: content of a ``corruption.json``; ``pixel_probe`` and ``versions`` are read.
        theirs: content of the ``corruption.json`` to compare with.

    Returns:
        Descriptions such as "Pillow 13.0.0 and 12.1.0"; empty if no difference is known.
    """
    versions = [content.get("versions") or {} for content in (ours, theirs)]
    found = [
        "{} {} and {}".format(name, *(v.get(name) or "unknown" for v in versions))
        for name in pixel_versions()
        if versions[0].get(name) != versions[1].get(name)
    ]
    if ours.get("pixel_probe") != theirs.get("pixel_probe"):
        found.insert(0, "the pixels of a corrupted test pattern")
    return found


def _write(file: Path, index: CorruptionIndex, found: Sequence[dict[str, int]]) -> None:
    header = {
        "format": FORMAT,
        "rows_sha256": index.rows_sha256,
        "repeats": len(found),
        "versions": pixel_versions(),
    }
    rows = [
        {"image": name, "pixels": [hashes[name] for hashes in found]}
        for name in sorted(found[0] if found else ())
    ]
    lines = [json.dumps(line, separators=(",", ":")) for line in (header, *rows)]
    atomic_write_text(file, "\n".join(lines) + "\n")
    logger.info("wrote %s", file)


def _read(file: Path, index: CorruptionIndex) -> dict[str, list[int]]:
    try:
        header, *rows = [json.loads(line) for line in file.read_text().splitlines()]
        known = {row["image"]: list(row["pixels"]) for row in rows}
        is_ours = header["format"] == FORMAT and header["rows_sha256"] == index.rows_sha256
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file}: expected lines of JSON with an image and its pixels, got "
            f"{type(error).__name__}: {error}; move the file away"
        ) from error
    if not is_ours:
        raise ValueError(
            f"{file}: expected hashes for the index {index.rows_sha256}, got those of another "
            "index or format; move the file away"
        )
    return known
