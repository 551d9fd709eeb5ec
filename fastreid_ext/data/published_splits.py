"""Read lists of images or persons that others published, to train on their very subset.

Three kinds of lines, one kind in a file:

- a path relative to the data set's folder or to ``DATASETS.ROOT``, or the bare file name;
- ``name; person; camera``, LUPerson's ``few_ims/used_ims_0.10.txt`` [0]: the name counts;
- a number, LUPerson's ``few_ids/used_ids_0.10.txt``: that person with all images.

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

# fastreid counts the training persons of these from 0, so that published numbers are others.
_RENUMBERED = ("CUHK03", "CUHK03Detected", "CUHK03Labeled")


def foreign_choice(file: Path, data_set: str, named: NamedItems) -> NDArray[np.int64]:
    """Read which items a list without our header keeps.

    Args:
        file: list that others published.
        data_set: registered name of the data set, for the messages.
        named: whole training split; see :func:`fastreid_ext.data.named_items.named_items`.

    Returns:
        Places of the listed images among the sorted names, ascending.

    Raises:
        ValueError: a line names nothing in the data set, more than one image, or something twice;
            the message begins with ``file:line``.
    """
    lines = {
        number: row.split(";")[0].strip()
        for number, row in enumerate(text_rows(file), 1)
        if row.strip()
    }
    if not lines:
        raise ValueError(f"{file}: expected lines with paths or person numbers, got an empty file")
    if all(line.isdecimal() for line in lines.values()):
        _expect_numbered(file, data_set)
        for number, line in lines.items():
            problem = number_problem(line, "person")
            if problem:
                raise ValueError(f"{file}:{number}: expected {problem}; correct the line")
        lines = {number: str(int(line)) for number, line in lines.items()}
        by_key = _by_person(named, set(lines.values()))
        what = "person"
    else:
        by_key = _by_path(named, {line.removeprefix("./") for line in lines.values()})
        what = "image"
    _expect_matches(file, data_set, named, lines, by_key, what)
    return np.sort(np.concatenate(list(by_key.values())))


def _expect_numbered(file: Path, data_set: str) -> None:
    if data_set in _RENUMBERED:
        raise ValueError(
            f"{file} lists persons by number, but fastreid renumbers those of {data_set}; use "
            "PersonFolder with the folder of CUHK03-NP that the list was made for"
        )


def _by_person(named: NamedItems, wanted: Set[str]) -> dict[str, NDArray[np.integer]]:
    """Return the ascending places of the images of each person that is wanted."""
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
    """Return the ascending places of the images of each wanted name or end of a name."""
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
