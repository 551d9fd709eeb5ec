"""Read and check a CSV table of images.

A CSV file in UTF-8 (or Latin-1) with a header line and the columns, in any order (others ignored):

- ``file_name``: absolute, or relative to the table's folder and not above it;
- ``person_id``, ``camera_id``: whole numbers from 0 to 2^63 - 1; need not be contiguous;
- ``split``: train, query or gallery.

An image may be a query and in the gallery (the evaluation leaves out the query's own camera);
otherwise each image is listed once. An identity belongs to training or to testing. The preflight of
a training checks that; an evaluation does not depend on the numbers of training identities.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.data.text_lines import read_text
from fastreid_ext.identity_numbers import number_problem

COLUMNS = ("file_name", "person_id", "camera_id", "split")
SPLITS = ("train", "query", "gallery")
# Mistakes named in one message; the rest is counted.
_MOST_NAMED = 20


@dataclass(frozen=True)
class TableRow:
    """A row of the table: one image.

    Attributes:
        path: absolute path of the image file.
        pid: number of the identity, from 0.
        camid: number of the camera, from 0.
        split: part of the data set: "train", "query" or "gallery".
        line: line number in the table, from 1.
    """

    path: str
    pid: int
    camid: int
    split: str
    line: int


def read_table(table: Path) -> list[TableRow]:
    """Read the rows of a table in their order.

    Raises:
        FileNotFoundError: the table does not exist.
        ValueError: the table has mistakes; the message lists them as ``table:line: mistake``.
    """
    if not table.is_file():
        raise FileNotFoundError(
            f"no table at {table} (DATASETS.TABLE); give the path of a CSV file with the columns "
            f"{', '.join(COLUMNS)}"
        )
    rows: list[TableRow] = []
    problems: list[tuple[int, str]] = []
    try:
        for line, cells in _lines(table, io.StringIO(read_text(table), newline="")):
            reasons = _mistakes(cells)
            problems += [(line, reason) for reason in reasons]
            if not reasons:
                rows.append(_row(table, line, cells))
    except csv.Error as error:
        raise ValueError(f"{table}: expected CSV in UTF-8, got: {error}") from error
    problems += [*_repeated(rows), *_missing(rows)]
    if problems:
        raise ValueError(_message(table, problems))
    if not rows:
        raise ValueError(f"{table}: expected a row for each image below the header, got none")
    return rows


def _lines(table: Path, file: Iterable[str]) -> Iterator[tuple[int, dict]]:
    reader = csv.DictReader(file, strict=True)
    header = reader.fieldnames or []
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ValueError(
            f"{table}:1: expected the columns {', '.join(COLUMNS)}, got {', '.join(header)}; "
            f"{', '.join(missing)} missing"
        )
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if twice:
        raise ValueError(f"{table}:1: the column {twice[0]} appears twice; remove one")
    for cells in reader:
        yield reader.line_num, cells


def _mistakes(cells: dict) -> list[str]:
    """List the mistakes of one row, regardless of other rows."""
    if None in cells or None in cells.values():
        return ["expected as many cells as the header has, got more or fewer"]
    reasons = []
    name = cells["file_name"]
    if not name:
        reasons.append("file_name is empty; give the path of an image")
    elif not os.path.isabs(name) and os.path.normpath(name).split(os.sep)[0] == "..":
        reasons.append(
            f"file_name '{name}' leads out of the table's folder; move the table up or give the "
            "absolute path"
        )
    for column in ("person_id", "camera_id"):
        problem = number_problem(cells[column].strip(), column)
        if problem:
            reasons.append(f"expected {problem}; number them, and leave junk images out")
    if cells["split"].strip() not in SPLITS:
        reasons.append(f"expected {', '.join(SPLITS)} as split, got '{cells['split']}'")
    return reasons


def _row(table: Path, line: int, cells: dict) -> TableRow:
    path = os.path.normpath(table.parent / cells["file_name"])
    numbers = int(cells["person_id"]), int(cells["camera_id"])
    return TableRow(path, *numbers, cells["split"].strip(), line)


def _repeated(rows: list[TableRow]) -> Iterator[tuple[int, str]]:
    seen: dict[str, list[TableRow]] = {}
    for row in rows:
        for other in seen.setdefault(row.path, []):
            if {row.split, other.split} != {"query", "gallery"}:
                yield (
                    row.line,
                    f"{row.path} is already in line {other.line} ({other.split}); remove one line",
                )
            elif (row.pid, row.camid) != (other.pid, other.camid):
                yield (
                    row.line,
                    f"{row.path} has another identity or camera than in line {other.line}; make "
                    "them equal",
                )
        seen[row.path].append(row)


def _missing(rows: list[TableRow]) -> Iterator[tuple[int, str]]:
    """List missing files; folders are listed once, as a call per file is slow on network disks."""
    names: dict[str, set[str]] = {}
    for row in rows:
        folder, name = os.path.split(row.path)
        if folder not in names:
            names[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in names[folder]:
            yield row.line, f"no file {row.path}; restore it or remove the line"


def _message(table: Path, problems: list[tuple[int, str]]) -> str:
    named = [f"{table}:{line}: {reason}" for line, reason in sorted(problems)[:_MOST_NAMED]]
    if len(problems) > _MOST_NAMED:
        named.append(f"and {len(problems) - _MOST_NAMED} more mistakes in {table}")
    return "\n".join(named)
