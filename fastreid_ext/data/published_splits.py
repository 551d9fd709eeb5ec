"""Read published lists of images or identities, to train on the same subset as others.

A file has one of three kinds of lines:

- a path relative to the data set's folder or to ``DATASETS.ROOT``, or the bare file name;
- ``name; pid; camid``, as LUPerson's ``few_ims/used_ims_0.10.txt`` [0]: only the name is used;
- the number of an identity, as LUPerson's ``few_ids/used_ids_0.10.txt``: all of its images.

[0] https://github.com/DengpanFu/LUPerson, folder fast-reid/datasets
"""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.named_items import NamedItems
from fastreid_ext.data.text_lines import text_rows
from fastreid_ext.identity_numbers import number_problem

# fastreid renumbers the training identities of these sets from 0, so published numbers differ.
_RENUMBERED = ("CUHK03", "CUHK03Detected", "CUHK03Labeled")


def published_choice(file: Path, data_set: str, named: NamedItems) -> NDArray[np.int64]:
    """Select the items of a published list, which has no header of fastreid_ext.

    Args:
        file: path of the published list.
        data_set: registered name of the data set, for error messages.
        named: complete training split; see :func:`fastreid_ext.data.named_items.named_items`.

    Returns:
        Positions of the listed images among the sorted names, ascending.

    Raises:
        ValueError: a line names no image of the data set, several images, or an image that another
            line names; the message begins with ``file:line``.
    """
    lines = {
        number: row.split(";")[0].strip()
        for number, row in enumerate(text_rows(file), 1)
        if row.strip()
    }
    if not lines:
        raise ValueError(
            f"{file}: expected lines with paths or identity numbers, got an empty file"
        )
    if all(line.isdecimal() for line in lines.values()):
        _expect_numbered(file, data_set)
        for number, line in lines.items():
            problem = number_problem(line, "identity")
            if problem:
                raise ValueError(f"{file}:{number}: expected {problem}; correct the line")
        lines = {number: str(int(line)) for number, line in lines.items()}
        by_key = _by_identity(named, set(lines.values()))
        what = "identity"
    else:
        by_key = _by_path(named, {line.removeprefix("./") for line in lines.values()})
        what = "image"
    _expect_matches(file, data_set, named, lines, by_key, what)
    return np.sort(np.concatenate(list(by_key.values())))


def _expect_numbered(file: Path, data_set: str) -> None:
    if data_set in _RENUMBERED:
        raise ValueError(
            f"{file} lists identities by number, but fastreid renumbers those of {data_set}; use "
            "PersonFolder with the folder of CUHK03-NP for which the list was made"
        )


def _by_identity(named: NamedItems, wanted: Set[str]) -> dict[str, NDArray[np.integer]]:
    """Find the ascending positions of the images of each wanted identity."""
    pids = named.arrays.pids
    codes: dict[str, list[int]] = defaultdict(list)
    for code, pid in enumerate(named.arrays.pid_names):
        number = pid.rpartition("_")[2]
        key = str(int(number)) if number.isdecimal() else pid
        if key in wanted:
            codes[key].append(code)
    order = np.argsort(pids, kind="stable")
    bounds = np.searchsorted(pids[order], np.arange(len(named.arrays.pid_names) + 1))
    return {
        key: np.sort(np.concatenate([order[bounds[code] : bounds[code + 1]] for code in own]))
        for key, own in codes.items()
    }


def _by_path(named: NamedItems, wanted: Set[str]) -> dict[str, array]:
    """Find the ascending positions of the images of each wanted name or end of a name."""
    places: dict[str, array] = defaultdict(lambda: array("q"))
    for place, name in enumerate(named):
        parts = name.split("/")
        for length in range(1, len(parts) + 1):
            end = "/".join(parts[-length:])
            if end in wanted:
                places[end].append(place)
    return places


def _expect_matches(
    file: Path,
    data_set: str,
    named: NamedItems,
    lines: dict[int, str],
    by_key: Mapping[str, Sequence[int]],
    what: str,
) -> None:
    kept: dict[int, int] = {}
    for number, line in lines.items():
        matches = by_key.get(line.removeprefix("./"), ())
        if not len(matches):
            raise ValueError(
                f"{file}:{number}: {data_set} has no training {what} '{line}'; is it a list for "
                "this data set?"
            )
        if what == "image" and len(matches) > 1:
            raise ValueError(
                f"{file}:{number}: '{line}' is the name of {len(matches)} images of {data_set} "
                f"(e.g. {named.names[matches[0]]}); give the path below DATASETS.ROOT"
            )
        first = int(matches[0])
        if first in kept:
            raise ValueError(
                f"{file}:{number}: {what} '{line}' is already in line {kept[first]}; remove "
                "one of them"
            )
        kept[first] = number
