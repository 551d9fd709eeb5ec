"""Sample few-shot and small-scale training sets once; later runs read them from a list file.

*Few-shot* keeps x % of the images of each identity, *small-scale* x % of the identities with all
their images [0]. Decisions:

- The numbers are those of the published lists [1]: few-shot keeps ``max(1, round(n x / 100))`` of
  the n images of an identity (halves round to the even number), small-scale ``floor(n x / 100)``
  of n identities, at least one. An identity may be left with one image: identity samplers repeat
  it, and the preflight counts such identities.
- Subsets are nested: for one seed the 10 % are part of the 30 %, those of the 50 %, and so on, so
  that a curve over percentages does not depend on the choice.
- The choice is not stratified by camera, as in [1].
- The choice depends on the seed, the kind, the name of the data set and the paths relative to the
  folder of the data sets. It does not depend on the machine, the order of the file system or the
  location of the folder.
- Only the training split is cut; queries and gallery stay complete.

A list file is a line of JSON (``HEADER_KEYS``) and then one path in each line, sorted. It is never
overwritten. If the paths or identities of the data set have changed since, it is refused; pixels
are not compared.

[0] Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021
[1] fast-reid/fastreid/data/datasets/cmdm.py in https://github.com/DengpanFu/LUPerson
"""

import codecs
import contextlib
import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.atomic import atomic_write
from fastreid_ext.data.hash_shuffle import hash_shuffled_places
from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.data.named_items import NamedItems, named_items
from fastreid_ext.data.own_sets import SubsetSetting, parse_subset
from fastreid_ext.data.published_splits import published_choice
from fastreid_ext.data.text_lines import text_rows

logger = logging.getLogger(__name__)

FORMAT = "fastreid_ext subset 1"
# Counts of this list and of the complete training split ("persons" are identities). full_sha256
# hashes paths and identities of the complete split, list_sha256 the lines below the header.
HEADER_KEYS = (
    "format", "data_set", "kind", "percent", "seed", "images", "images_of", "persons",
    "persons_of", "full_sha256", "list_sha256",
)  # fmt: skip


def subset_items(
    text: str, data_set: str, items: ItemArrays, base: Path, lists: Path
) -> tuple[ItemArrays, str]:
    """Select the items that ``DATASETS.SUBSET`` keeps; the first use writes the list.

    Args:
        text: value of the key ``DATASETS.SUBSET``.
        data_set: registered name of the data set.
        items: complete training split of the data set.
        base: folder that the listed paths are relative to.
        lists: folder of the list files of this data set.

    Returns:
        The selected items, and a summary for the log ("" for an empty ``text``).

    Raises:
        ValueError: the list is damaged, or belongs to other data.
        OSError: the list cannot be read or written.
    """
    chosen = parse_subset(text)
    if chosen is None:
        return items, ""
    named = named_items(items, base)
    if isinstance(chosen, SubsetSetting):
        file = lists / chosen.file_name
        if not file.exists():
            with contextlib.suppress(FileExistsError):  # another process wrote it
                write_subset(file, chosen, data_set, named)
        kept = read_subset(file, data_set, named, chosen)
    elif is_subset_file(chosen):
        file = chosen
        kept = read_subset(file, data_set, named, None)
    else:
        file = chosen
        kept = published_choice(file, data_set, named)
    subset = named.arrays.take(kept)
    identities = [len(np.unique(part.pids)) for part in (subset, items)]
    return subset, (
        f"DATASETS.SUBSET {text}: {len(subset)} of {len(items)} images and {identities[0]} of "
        f"{identities[1]} identities of {data_set}, as {file} lists them"
    )


def sample_subset(setting: SubsetSetting, data_set: str, named: NamedItems) -> NDArray[np.int64]:
    """Sample the items of a setting; return their positions among the sorted names, ascending."""
    pids = named.arrays.pids
    key = (setting.seed, setting.kind, data_set)
    if setting.kind == "few_shot":
        order = hash_shuffled_places(named.names, *key)
        return np.sort(_first_of_each(pids, order, setting.percent))
    # Identities are ranked by the names of their first images, because fastreid renumbers the
    # identities of some sets.
    unique, firsts = np.unique(pids, return_index=True)
    order = hash_shuffled_places((named.names[place] for place in firsts), *key)
    count = max(1, len(unique) * setting.percent // 100)
    return np.flatnonzero(np.isin(pids, unique[order[:count]]))


def _first_of_each(
    pids: NDArray[np.integer], order: NDArray[np.int64], percent: int
) -> NDArray[np.int64]:
    """Select a share of the images of each identity, those that come first in an order.

    Args:
        pids: (N,) int, identity of each image.
        order: (N,) int, positions of all images in the order of preference.
        percent: share of the images of an identity in percent; at least one image is kept.
    """
    order = order[np.argsort(pids[order], kind="stable")]  # the identities one after the other
    _, counts = np.unique(pids, return_counts=True)
    sizes = np.unique(counts)
    shares = [max(1, round(Fraction(size * percent, 100))) for size in sizes.tolist()]
    kept = np.array(shares)[np.searchsorted(sizes, counts)]
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[ranks < np.repeat(kept, counts)]


def write_subset(file: Path, setting: SubsetSetting, data_set: str, named: NamedItems) -> None:
    """Sample a subset and write its list.

    Raises:
        FileExistsError: the file exists; lists are never overwritten.
        OSError: the folder cannot be written to.
    """
    if file.exists():
        raise FileExistsError(
            f"{file} exists and lists are never overwritten; use it, or take another _seed<number>"
        )
    kept = sample_subset(setting, data_set, named)
    header = {
        "format": FORMAT,
        "data_set": data_set,
        "kind": setting.kind,
        "percent": setting.percent,
        "seed": setting.seed,
        "images": len(kept),
        "images_of": len(named),
        "persons": len(np.unique(named.arrays.pids[kept])),
        "persons_of": len(np.unique(named.arrays.pids)),
        "full_sha256": _hash_of_all(named),
        "list_sha256": _hash(named.names_at(kept)),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as opened:
            opened.write(f"{json.dumps(header)}\n".encode())
            for name in named.names_at(kept):
                opened.write(f"{name}\n".encode())
    except OSError as error:
        raise OSError(
            f"cannot write the list {file} ({error}); write it elsewhere with "
            "tools/make_subset.py --output and give its path as DATASETS.SUBSET"
        ) from error
    logger.info("Wrote %s", file)


def is_subset_file(file: Path) -> bool:
    """Tell whether a file is a list of fastreid_ext: its first line is JSON."""
    with open(file, "rb") as opened:
        return opened.read(4).removeprefix(codecs.BOM_UTF8)[:1] == b"{"


def read_subset(
    file: Path, data_set: str, named: NamedItems, setting: SubsetSetting | None
) -> NDArray[np.int64]:
    """Read a list of fastreid_ext and check it against its header and the data set.

    Args:
        file: path of the list file.
        data_set: registered name of the data set.
        named: complete training split; see :func:`fastreid_ext.data.named_items.named_items`.
        setting: setting that the list must have; None accepts any.

    Returns:
        Positions of the listed images among the sorted names, ascending.

    Raises:
        ValueError: the list is damaged or belongs to another data set or setting, or the data set
            has changed.
    """
    header = _header(file)
    expected = {"format": FORMAT, "data_set": data_set}
    if setting:
        expected |= {"kind": setting.kind, "percent": setting.percent, "seed": setting.seed}
    for key, value in expected.items():
        if header[key] != value:
            raise ValueError(
                f"{file}:1: expected a list with {key} {value!r}, got {header[key]!r}; was the "
                "file renamed? Move it away, and the next run samples a new one"
            )
    count = sum(1 for _ in _listed(file))
    if header["images"] != count or header["list_sha256"] != _hash(_listed(file)):
        raise ValueError(
            f"{file}: expected the {header['images']} lines that were written, got {count} or "
            "changed ones; restore the file, or move it away, and the next run samples a new one"
        )
    if header["full_sha256"] != _hash_of_all(named):
        gone = [name for name in _listed(file) if name not in named]
        raise ValueError(
            f"{file}: {data_set} has changed since the list was written: {header['images_of']} "
            f"images of {header['persons_of']} identities then, {len(named)} images of "
            f"{len(np.unique(named.arrays.pids))} identities now, {len(gone)} listed images "
            f"are gone{f' (e.g. {gone[0]})' if gone else ''}; restore the data set, or move the "
            "list away, and the next run samples a new one"
        )
    return _places_in(file, named)


def _places_in(file: Path, named: NamedItems) -> NDArray[np.int64]:
    places = np.fromiter(named.places(_listed(file)), np.int64)
    places = places[places >= 0]
    is_sorted = bool((np.diff(places) > 0).all())
    return places if is_sorted else np.unique(places)


def _listed(file: Path) -> Iterator[str]:
    """Yield the names below the header of a list."""
    return itertools.islice(text_rows(file), 1, None)


def _header(file: Path) -> dict:
    try:
        header = json.loads(next(text_rows(file), ""))
    except ValueError as error:
        raise ValueError(
            f"{file}:1: expected a line of JSON, got: {error}; move the file away, and the next "
            "run samples a new one"
        ) from error
    missing = [key for key in HEADER_KEYS if key not in header]
    if missing:
        raise ValueError(
            f"{file}:1: expected the keys {', '.join(HEADER_KEYS)}, got a header without "
            f"{', '.join(missing)}; is it a list of tools/make_subset.py?"
        )
    return header


def _hash_of_all(named: NamedItems) -> str:
    return _hash(f"{name}\t{pid}" for name, pid in named.pid_texts())


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    lines = iter(lines)
    while own := list(itertools.islice(lines, 1000)):
        digest.update("".join(f"{line}\n" for line in own).encode())
    return digest.hexdigest()
