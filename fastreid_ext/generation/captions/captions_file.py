"""Captions on disk: answers of the captioner, and the one caption of each identity.

``captions/<identity>.json`` holds all answers about the images of one identity. ``captions.jsonl``
holds a row per identity, made from them once, which you may read and correct. Rows are never
overwritten, and generation depends on this file alone.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.manifest.record import from_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers of a captioner about one identity.

    Attributes:
        identity: name of the identity and of its folder.
        captioner: name of the model, "<id>@<revision>".
        questions: questions in order; "" for an unprompted caption.
        images: paths of the images, as in :class:`.identities.identity_list.SourceImage`.
        answers: raw answer to each question, for each image.
    """

    identity: str
    captioner: str
    questions: tuple[str, ...]
    images: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        """Check that each image has an answer to each question."""
        counts = [len(own) if isinstance(own, list | tuple) else 0 for own in self.answers]
        if counts != [len(self.questions)] * len(self.images) or not counts:
            raise ValueError(
                f"expected {len(self.questions)} answers for each of {len(self.images)} images, "
                f"got {counts}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """The caption of one identity.

    Attributes:
        name: name of the identity and of its folder.
        caption: text for the prompt; the field to correct by hand.
        attributes: question -> answer, for information only.
        automatic: caption as the captioner made it; "" in a row that was added by hand.
    """

    name: str
    caption: str
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    automatic: str = ""

    def __post_init__(self) -> None:
        """Check the types of the fields, and that the name is not empty."""
        for key in ("name", "caption", "automatic"):
            if not isinstance(getattr(self, key), str):
                raise ValueError(f"expected {key} as text in quotes, got {getattr(self, key)!r}")
        if not isinstance(self.attributes, Mapping):
            raise ValueError(f"expected attributes as an object, got {self.attributes!r}")
        if not self.name:
            raise ValueError("expected the name of an identity, got ''")

    @property
    def edited(self) -> bool:
        """Tell whether the caption was changed by hand."""
        return self.caption != self.automatic


def answers_file(output: Path, name: str) -> Path:
    """Return ``captions/<identity>.json``."""
    return Path(output) / "captions" / f"{name}.json"


def write_answers(output: Path, answers: Answers) -> None:
    """Write the answers of one identity."""
    path = answers_file(output, answers.identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(answers), indent=2, ensure_ascii=False)
    atomic_write_text(path, text + "\n")


def read_answers(output: Path, name: str) -> Answers:
    """Read the answers of one identity.

    Raises:
        FileNotFoundError: the identity has no answers.
        ValueError: the file is damaged; the message begins with its path.
    """
    path = answers_file(output, name)
    if not path.is_file():
        raise FileNotFoundError(
            f"no captions of {name} at {path}; make them with tools/generate_persons.py caption"
        )
    answers = from_json(Answers, path.read_text(encoding="utf-8"), str(path))
    return dataclasses.replace(answers, answers=tuple(map(tuple, answers.answers)))


def captions_file(output: Path) -> Path:
    """Return ``captions.jsonl``."""
    return Path(output) / "captions.jsonl"


def read_captions(output: Path) -> dict[str, CaptionRow]:
    """Read the rows of ``captions.jsonl`` by identity, in the order of the file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a line is wrong; the message begins with ``file:line``.
    """
    path = captions_file(output)
    if not path.is_file():
        raise FileNotFoundError(
            f"no captions at {path}; make them with tools/generate_persons.py caption, or write a "
            'line {"name": ..., "caption": ...} for each identity'
        )
    rows: dict[str, CaptionRow] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if not line.strip():
            continue  # added by an editor
        row = from_json(CaptionRow, line, f"{path}:{number}")
        if row.name in rows:
            raise ValueError(
                f"{path}:{number}: '{row.name}' is already in line {places[row.name]}; keep one"
            )
        rows[row.name] = row
        places[row.name] = number
    return rows


def add_captions(
    output: Path, names: Iterable[str], caption_of: Callable[[Answers], CaptionRow]
) -> dict[str, CaptionRow]:
    """Append a row for each identity with answers and no row; return all rows.

    Existing lines stay unchanged to the letter.

    Args:
        output: output folder of the job.
        names: names of identities in the order of their rows.
        caption_of: function that makes the row of an identity from its answers.

    Raises:
        ValueError: ``captions.jsonl`` or an identity's file is damaged.
    """
    path = captions_file(output)
    rows = read_captions(output) if path.is_file() else {}
    missing = [n for n in names if n not in rows and answers_file(output, n).is_file()]
    if missing:
        new = [caption_of(read_answers(output, name)) for name in missing]
        text = path.read_bytes().decode("utf-8") if path.is_file() else ""
        end = "\n" if text and not text.endswith("\n") else ""
        atomic_write_text(path, text + end + "".join(map(_line, new)))
        rows |= {row.name: row for row in new}
    return rows


def empty_captions(rows: Mapping[str, CaptionRow]) -> Sequence[str]:
    """List the identities whose caption has no letter or digit."""
    return [name for name, row in rows.items() if not any(map(str.isalnum, row.caption))]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected UTF-8 in {path}, got: {error}; save it as UTF-8 in your editor"
        ) from error


def _line(row: CaptionRow) -> str:
    return json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n"
