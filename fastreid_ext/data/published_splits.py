"""Read lists of images or persons that others published, to train on their very subset.

Three kinds of lines, one kind in a file:

- a path relative to the data set's folder or to ``DATASETS.ROOT``, or the bare file name;
- ``name; person; camera``, LUPerson's ``few_ims/used_ims_0.10.txt`` [0]: the name counts;
- a number, LUPerson's ``few_ids/used_ids_0.10.txt``: that person with all images.

[0] https://github.com/DengpanFu/LUPerson, folder fast-reid/datasets
"""

from collections import defaultdict
from pathlib import Path

from fastreid_ext.data.samplers import Item
from fastreid_ext.data.text_lines import read_text
from fastreid_ext.identity_numbers import number_problem

# fastreid counts the training persons of these from 0, so that published numbers are others.
_RENUMBERED = ("CUHK03", "CUHK03Detected", "CUHK03Labeled")


def foreign_choice(file: Path, data_set: str, named: dict[str, Item]) -> set[str]:
    """Return the names of the items that a list without our header keeps.

    Args:
        file: the list.
        data_set: registered name, for the messages.
        named: the whole training split; see :func:`fastreid_ext.data.subsets.named_items`.

    Raises:
        ValueError: a line names nothing in the data set, more than one image, or something twice;
            the message begins with ``file:line``.
    """
    rows = read_text(file).splitlines()
    lines = {number: row.split(";")[0].strip() for number, row in enumerate(rows, 1) if row.strip()}
    if not lines:
        raise ValueError(f"{file}: expected lines with paths or person numbers, got an empty file")
    if all(line.isdecimal() for line in lines.values()):
        by_key = _by_person(file, data_set, named)
        for number, line in lines.items():
            problem = number_problem(line, "person")
            if problem:
                raise ValueError(f"{file}:{number}: expected {problem}; correct the line")
        lines = {number: str(int(line)) for number, line in lines.items()}
        what = "person"
    else:
        by_key, what = _by_path(named), "image"
    return _matched(file, data_set, lines, by_key, what)


def _by_person(file: Path, data_set: str, named: dict[str, Item]) -> dict[str, list[str]]:
    if data_set in _RENUMBERED:
        raise ValueError(
            f"{file} lists persons by number, but fastreid renumbers those of {data_set}; use "
            "PersonFolder with the folder of CUHK03-NP that the list was made for"
        )
    persons: dict[str, list[str]] = defaultdict(list)
    for name, (_, pid, _) in named.items():
        number = pid.rpartition("_")[2]
        persons[str(int(number)) if number.isdecimal() else pid].append(name)
    return persons


def _by_path(named: dict[str, Item]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = defaultdict(list)
    for name in named:
        parts = name.split("/")
        for length in range(1, len(parts) + 1):
            paths["/".join(parts[-length:])].append(name)
    return paths


def _matched(
    file: Path, data_set: str, lines: dict[int, str], by_key: dict[str, list[str]], what: str
) -> set[str]:
    kept: dict[str, int] = {}
    for number, line in lines.items():
        matches = by_key.get(line.removeprefix("./"), [])
        if not matches:
            raise ValueError(
                f"{file}:{number}: {data_set} has no training {what} '{line}'; is it a list for "
                "this data set?"
            )
        if what == "image" and len(matches) > 1:
            raise ValueError(
                f"{file}:{number}: '{line}' is the name of {len(matches)} images of {data_set} "
                f"(e.g. {matches[0]}); give the path below DATASETS.ROOT"
            )
        if matches[0] in kept:
            raise ValueError(
                f"{file}:{number}: {what} '{line}' is already in line {kept[matches[0]]}; remove "
                "one of them"
            )
        kept.update(dict.fromkeys(matches, number))
    return set(kept)
