"""Folders of generated images: write, read, verify."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.manifest.record import (
    IMAGE_SUFFIXES,
    GeneratedImage,
    GeneratedSet,
    from_json,
)


@dataclasses.dataclass(frozen=True)
class Row:
    """Record of a generated image with its place in a file.

    Attributes:
        image: record of the image in this line.
        manifest: jsonl file that contains the record.
        line: number of the line in ``manifest``, from 1.
    """

    image: GeneratedImage
    manifest: Path
    line: int

    @property
    def path(self) -> Path:
        """Path of the image file."""
        return self.manifest.parent / self.image.file_name

    @property
    def where(self) -> str:
        """Place of the record as ``file:line``, for messages."""
        return f"{self.manifest}:{self.line}"


def write_identity(
    folder: str | Path, images: Iterable[GeneratedImage], *, durable: bool = True
) -> None:
    """Write the rows of one identity, whose image files are in ``folder``.

    ``metadata.jsonl`` is written last and atomically, so an interrupted identity has none.

    Args:
        folder: folder of the identity, created if it is missing.
        images: rows of the identity, one per image.
        durable: whether to sync to the disk, as in :func:`fastreid_ext.atomic.atomic_write`.

    Raises:
        ValueError: rows of two identities, or two rows of one file.
    """
    folder = Path(folder)
    images = list(images)
    rows = [Row(image, folder / "metadata.jsonl", n) for n, image in enumerate(images, start=1)]
    _check_identity(rows)
    failed = [image for image in images if image.status == "failed"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (
        ("failures.jsonl", failed),
        ("metadata.jsonl", [image for image in images if image.status != "failed"]),
    ):
        if part or name == "metadata.jsonl":
            text = "".join(_line(image) for image in part)
            atomic_write_text(folder / name, text, durable=durable)


def _line(image: GeneratedImage) -> str:
    values = dataclasses.asdict(image)
    # 7 and 7.5 in one column would be two types.
    values["guidance"] = float(image.guidance)
    values["scores"] = {name: float(score) for name, score in image.scores.items()}
    return json.dumps(values, allow_nan=False) + "\n"


def read_identity(folder: str | Path) -> list[Row]:
    """Read the rows of one identity, those of failed images last.

    Raises:
        FileNotFoundError: ``metadata.jsonl`` is missing.
        ValueError: a row is damaged or wrong; the message begins with ``file:line``.
    """
    manifest = Path(folder) / "metadata.jsonl"
    if not manifest.is_file():
        raise FileNotFoundError(f"no manifest at {manifest}; run the generator for this identity")
    rows = list(_read_rows(manifest))
    if (failures := manifest.with_name("failures.jsonl")).is_file():
        rows += _read_rows(failures)
    _check_identity(rows)
    return rows


def write_set(root: str | Path, generated: GeneratedSet) -> None:
    """Write ``dataset.json`` once all identities are finished."""
    text = json.dumps(dataclasses.asdict(generated), indent=2, allow_nan=False)
    Path(root).mkdir(parents=True, exist_ok=True)
    atomic_write_text(Path(root) / "dataset.json", text + "\n")


def read_set(root: str | Path) -> tuple[GeneratedSet, list[Row]]:
    """Read ``dataset.json`` and the rows of all finished identities, sorted by folder name.

    Raises:
        FileNotFoundError: ``root`` has no ``dataset.json``.
        ValueError: a file is damaged or wrong, or two folders hold the same identity.
    """
    description = Path(root) / "dataset.json"
    if not description.is_file():
        raise FileNotFoundError(
            f"no generated set at {root}: expected {description}, which the generator writes last; "
            "give the folder that holds it, or let the generator finish"
        )
    generated = from_json(GeneratedSet, description.read_text(encoding="utf-8"), str(description))
    rows: list[Row] = []
    folders: dict[tuple[str, int], Path] = {}
    for manifest in sorted(Path(root).glob("*/metadata.jsonl")):
        own = read_identity(manifest.parent)
        rows += own
        for row in own[:1]:
            key = (row.image.source_dataset, row.image.person_id)
            if key in folders:
                raise ValueError(
                    f"{row.where}: identity {key[1]} of '{key[0]}' is also in {folders[key]}; keep "
                    "one folder per identity"
                )
            folders[key] = manifest.parent
    return generated, rows


def verify_set(root: str | Path) -> list[str]:
    """Compare a set with its files and list the problems, one line each.

    Finds missing and changed image files, images without a row, unfinished identities, counts
    that differ from ``dataset.json``, and rows that ``datasets`` cannot join in one table.

    Raises:
        FileNotFoundError: ``root`` has no ``dataset.json``.
        ValueError: a row or ``dataset.json`` is damaged.
    """
    generated, rows = read_set(root)
    problems = [problem for row in rows if (problem := _file_problem(row))]
    known = {row.path for row in rows}
    for folder in sorted(path for path in Path(root).iterdir() if path.is_dir()):
        if not (folder / "metadata.jsonl").is_file():
            problems.append(f"{folder}: no metadata.jsonl, the identity is not finished")
            continue
        files = (path for path in sorted(folder.rglob("*")) if path.suffix in IMAGE_SUFFIXES)
        problems += [f"{path}: image without a row" for path in files if path not in known]
    counts = dict(Counter(row.image.status for row in rows))
    stated = {status: n for status, n in generated.counts.items() if n}
    if stated and stated != counts:
        problems.append(f"dataset.json counts {dict(generated.counts)}, the rows are {counts}")
    return problems + _column_problems(rows)


def sha256_of(path: str | Path) -> str:
    """Compute the SHA-256 of a file as 64 hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _check_identity(rows: list[Row]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        image = row.image
        first = rows[0].image
        if (image.source_dataset, image.person_id) != (first.source_dataset, first.person_id):
            raise ValueError(
                f"{row.where}: expected identity {first.person_id} of '{first.source_dataset}' as "
                f"in the first row, got {image.person_id} of '{image.source_dataset}'; "
                "write each identity to its own folder"
            )
        if image.file_name in seen:
            raise ValueError(
                f"{row.where}: file_name '{image.file_name}' is already in line "
                f"{seen[image.file_name]}; give each image one row"
            )
        seen[image.file_name] = row.line


def _file_problem(row: Row) -> str | None:
    if row.image.status == "failed":
        return None
    if not row.path.is_file():
        return f"{row.where}: {row.path} is missing"
    if sha256_of(row.path) != row.image.sha256:
        return f"{row.where}: {row.path} has another sha256 than the row; was it changed?"
    return None


def _column_problems(rows: list[Row]) -> list[str]:
    problems = []
    for name in ("scores", "conditions"):
        with_file = (row for row in rows if row.image.status != "failed")
        keys = {tuple(sorted(getattr(row.image, name))): row.where for row in with_file}
        if len(keys) > 1:
            listed = "; ".join(f"{list(key)} ({where})" for key, where in keys.items())
            problems.append(f"{name} has different keys: {listed}; `datasets` cannot join them")
    return problems


def _read_rows(manifest: Path) -> Iterator[Row]:
    lines = manifest.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        yield Row(from_json(GeneratedImage, line, f"{manifest}:{number}"), manifest, number)
