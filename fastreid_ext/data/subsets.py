"""Few-shot and small-scale training sets: drawn once, then read from a list file.

*Few-shot* keeps x % of the images of each person, *small-scale* x % of the persons with all their
images [0]. Decisions:

- Numbers are those of the lists' inventors [1]: few-shot ``max(1, round(n x / 100))`` images of a
  person with n (halves go to the even number), small-scale ``floor(n x / 100)`` persons, at least
  one. A person may so be left with one image; identity samplers repeat it and the preflight counts
  such persons.
- Nested: for one seed the 10 % are part of the 30 %, those of the 50 %, and so on, so that a curve
  over percentages is not blurred by the choice.
- Not stratified by camera, as in [1].
- The choice depends on the seed, the kind, the data set's name and the paths relative to the data
  sets' folder: not on the machine, the order of the file system or where the folder lies.
- Training split only; queries and gallery stay as they are.

A list file is a line of JSON (``HEADER_KEYS``) and then one path in each line, sorted. It is never
overwritten. When paths or persons of the data set are no longer those it was drawn from, it is
refused; pixels are not looked at.

[0] Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021
[1] fast-reid/fastreid/data/datasets/cmdm.py in https://github.com/DengpanFu/LUPerson
"""

import codecs
import contextlib
import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.config.data_settings import SubsetSetting, parse_subset
from fastreid_ext.data.hash_shuffle import hash_shuffle
from fastreid_ext.data.published_splits import foreign_choice
from fastreid_ext.data.samplers import Item
from fastreid_ext.data.text_lines import read_text

logger = logging.getLogger(__name__)

FORMAT = "fastreid_ext subset 1"
# Counts are of this list and of the whole training split; full_sha256 is of the whole training
# split (paths and persons), list_sha256 of the lines below the header.
HEADER_KEYS = (
    "format", "data_set", "kind", "percent", "seed", "images", "images_of", "persons",
    "persons_of", "full_sha256", "list_sha256",
)  # fmt: skip


def subset_items(
    text: str, data_set: str, items: list[Item], base: Path, lists: Path
) -> tuple[list[Item], str]:
    """Return what ``DATASETS.SUBSET`` keeps, and that in words; the first use writes the list.

    Args:
        text: value of ``DATASETS.SUBSET``.
        data_set: registered name.
        items: the whole training split.
        base: folder that the listed paths start from.
        lists: folder of this data set's list files.

    Raises:
        ValueError: the list is damaged, or belongs to other data.
        OSError: it cannot be read or written.
    """
    chosen = parse_subset(text)
    if chosen is None:
        return items, ""
    named = named_items(items, base)
    if isinstance(chosen, SubsetSetting):
        file = lists / chosen.file_name
        if not file.exists():
            with contextlib.suppress(FileExistsError):  # another process of this run drew the same
                write_subset(file, chosen, data_set, named)
        kept = read_subset(file, data_set, named, chosen)
    elif is_subset_file(chosen):
        file, kept = chosen, read_subset(chosen, data_set, named, None)
    else:
        file, kept = chosen, foreign_choice(chosen, data_set, named)
    subset = [item for name, item in named.items() if name in kept]
    persons = [len({pid for _, pid, _ in part}) for part in (subset, items)]
    return subset, (
        f"DATASETS.SUBSET {text}: {len(subset)} of {len(items)} images and {persons[0]} of "
        f"{persons[1]} persons of {data_set}, as {file} lists them"
    )


def named_items(items: Iterable[Item], base: Path) -> dict[str, Item]:
    """Return the items under their paths relative to ``base`` (absolute if outside), sorted."""
    start = os.path.abspath(base) + os.sep
    named = {os.path.abspath(item[0]).removeprefix(start): item for item in items}
    return dict(sorted(named.items()))


def draw_subset(setting: SubsetSetting, data_set: str, named: dict[str, Item]) -> list[str]:
    """Return the names of the items that a setting keeps, sorted."""
    persons: dict[str, list[str]] = defaultdict(list)
    for name, (_, pid, _) in named.items():
        persons[pid].append(name)
    key = (setting.seed, setting.kind, data_set)
    if setting.kind == "few_shot":
        shares = (
            hash_shuffle(own, *key)[: max(1, round(Fraction(len(own) * setting.percent, 100)))]
            for own in persons.values()
        )
        return sorted(name for share in shares for name in share)
    # Ranked by its first image: fastreid renumbers the persons of some sets.
    first_images = {min(own): own for own in persons.values()}
    count = max(1, len(persons) * setting.percent // 100)
    return sorted(
        n for first in hash_shuffle(first_images, *key)[:count] for n in first_images[first]
    )


def write_subset(file: Path, setting: SubsetSetting, data_set: str, named: dict[str, Item]) -> None:
    """Draw a subset and write its list.

    Raises:
        FileExistsError: there is a file already; lists are never overwritten.
        OSError: the folder cannot be written to.
    """
    if file.exists():
        raise FileExistsError(
            f"{file} exists and lists are never overwritten; use it, or take another _seed<number>"
        )
    kept = draw_subset(setting, data_set, named)
    header = {
        "format": FORMAT,
        "data_set": data_set,
        "kind": setting.kind,
        "percent": setting.percent,
        "seed": setting.seed,
        "images": len(kept),
        "images_of": len(named),
        "persons": len({named[name][1] for name in kept}),
        "persons_of": len({pid for _, pid, _ in named.values()}),
        "full_sha256": _hash(f"{name}\t{pid}" for name, (_, pid, _) in named.items()),
        "list_sha256": _hash(kept),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, "\n".join([json.dumps(header), *kept]) + "\n")
    except OSError as error:
        raise OSError(
            f"cannot write the list {file} ({error}); write it elsewhere with "
            "tools/make_subset.py --output and give its path as DATASETS.SUBSET"
        ) from error
    logger.info("Wrote %s", file)


def is_subset_file(file: Path) -> bool:
    """Whether a file is one of our lists: its first line is JSON."""
    with open(file, "rb") as opened:
        return opened.read(4).removeprefix(codecs.BOM_UTF8)[:1] == b"{"


def read_subset(
    file: Path, data_set: str, named: dict[str, Item], setting: SubsetSetting | None
) -> set[str]:
    """Return the names in one of our lists after checking all that its header says.

    Raises:
        ValueError: it is damaged, of another data set or setting, or the data set has changed.
    """
    header, kept = _parse(file)
    expected = {"format": FORMAT, "data_set": data_set}
    if setting:
        expected |= {"kind": setting.kind, "percent": setting.percent, "seed": setting.seed}
    for key, value in expected.items():
        if header[key] != value:
            raise ValueError(
                f"{file}:1: expected a list with {key} {value!r}, got {header[key]!r}; was the "
                "file renamed? Move it away and it is drawn anew"
            )
    if header["images"] != len(kept) or header["list_sha256"] != _hash(kept):
        raise ValueError(
            f"{file}: expected the {header['images']} lines that were written, got {len(kept)} or "
            "changed ones; restore the file, or move it away and it is drawn anew"
        )
    if header["full_sha256"] != _hash(f"{name}\t{pid}" for name, (_, pid, _) in named.items()):
        gone = [name for name in kept if name not in named]
        raise ValueError(
            f"{file}: {data_set} has changed since the list was drawn: {header['images_of']} "
            f"images of {header['persons_of']} persons then, {len(named)} images of "
            f"{len({pid for _, pid, _ in named.values()})} persons now, {len(gone)} listed images "
            f"are gone{f' (e.g. {gone[0]})' if gone else ''}; restore the data set, or move the "
            "list away and a new subset is drawn"
        )
    return set(kept)


def _parse(file: Path) -> tuple[dict, list[str]]:
    try:
        first, *kept = read_text(file).splitlines()
        header = json.loads(first)
    except ValueError as error:
        raise ValueError(
            f"{file}:1: expected a line of JSON, got: {error}; move the file away and it is drawn "
            "anew"
        ) from error
    missing = [key for key in HEADER_KEYS if key not in header]
    if missing:
        raise ValueError(
            f"{file}:1: expected the keys {', '.join(HEADER_KEYS)}, got a header without "
            f"{', '.join(missing)}; is it a list of tools/make_subset.py?"
        )
    return header, kept


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
