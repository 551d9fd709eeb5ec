"""Count the files in the folders of a data set that the data set does not use."""

import os
from collections import Counter
from collections.abc import Iterable

from fastreid_ext.data.image_files import images_below, is_image_name, other_suffix

UNUSED = "images"
IN_SUBFOLDERS = "images in sub-folders"
JUNK = "images of identity -1 (junk)"


def left_out(paths: Iterable[str]) -> Counter[str]:
    """Count the files that are left out, by reason.

    Each folder with images of the data set is listed once; no file is opened.

    Args:
        paths: paths of all images that the data set uses.
    """
    used = Counter(os.path.dirname(path) for path in paths)
    above = {parent for folder in used for parent in _parents(folder)}
    counts: Counter[str] = Counter()
    for folder, number in used.items():
        if os.path.isdir(folder):
            counts += _in_folder(folder, number, {*used, *above})
    return counts


def _parents(folder: str) -> Iterable[str]:
    parent = os.path.dirname(folder)
    while parent != folder:
        yield parent
        folder = parent
        parent = os.path.dirname(folder)


def _in_folder(folder: str, used: int, known: set[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                counts["hidden"] += 1
            elif entry.is_dir():
                if entry.path not in known:
                    counts[IN_SUBFOLDERS] += sum(1 for _ in images_below(entry.path))
            elif not is_image_name(entry.name):
                counts[other_suffix(entry.name)] += 1
            else:
                counts[JUNK if entry.name.startswith("-1") else UNUSED] += 1
    counts[UNUSED] -= used
    return +counts


def in_words(counts: Counter[str]) -> str:
    """Write counts as text, the largest first."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
