"""Short hashes of corrupted images, by which machines find out whether they test the same pixels.

Libraries that read JPEG or compute a sine may differ in single bits between machines. The first
evaluation that is asked to keeps the hashes in a file beside the index; every later one, anywhere,
says in its results which share of the corrupted images differ. A difference is no error.

The file: a line of JSON, then a line of JSON for each image with its CRC-32 in each draw.
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


def pixels_file(index_file: Path) -> Path:
    """Return the file of hashes that belongs to an index: ``a.jsonl.gz`` -> ``a.pixels.jsonl``."""
    return index_file.with_name(index_file.name.split(".")[0] + ".pixels.jsonl")


def compare_pixels(
    index_file: Path, index: CorruptionIndex, found: Sequence[dict[str, int]], *, write: bool
) -> dict[str, Any] | None:
    """Compare hashes with those beside the index, or write them there.

    Args:
        index_file: of the index; the hashes lie beside it.
        index: what was evaluated.
        found: hash of each corrupted image by name, for each draw.
        write: write the hashes if there are none yet.

    Returns:
        Counts of images that were compared and that differ, by corruption too; None where there is
        nothing to compare with.

    Raises:
        ValueError: the file beside the index is of another index, or damaged.
    """
    file = pixels_file(index_file)
    if not file.is_file():
        if write:
            _write(file, index, found)
        return None
    known = _read(file, index)
    row = {name: i for i, name in enumerate(index.names)}
    compared: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    for draw, hashes in enumerate(found):
        for name, value in hashes.items():
            if draw < len(known.get(name, [])):
                corruption = index.drawn(row[name], draw).name
                compared[corruption] += 1
                differing[corruption] += known[name][draw] != value
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


def pixel_makers_differ(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Say in what two evaluations of one index differ that makes pixels.

    Args:
        ours: content of a corruption.json, of which ``pixel_probe`` and ``versions`` are read.
        theirs: of another.

    Returns:
        Words, "Pillow 13.0.0 and 12.1.0" for instance; none where pixels are the same as far as
        is known.
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
        "draws": len(found),
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
