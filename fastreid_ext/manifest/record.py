"""One generated image as a record, and one generated set: fields, types, checks, JSON."""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NoReturn, TypeVar

from fastreid_ext.identity_numbers import UNKNOWN, number_problem

SCHEMA_VERSION = 1
STATUSES = ("ok", "rejected", "failed")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


Record = TypeVar("Record")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """One generated image.

    Attributes:
        file_name: image file, relative to the folder of its identity, with "/"; no "..".
        source_dataset: name in fastreid's DATASET_REGISTRY of the set whose person this is, e.g.
            "Market1501"; "" if the person is of no set.
        person_id: the person's number, >= 0: the one in fastreid's training items of the source
            set, else a number of the generator's.
        seed: seed of this image, >= 0.
        model_ids: models that took part, "<id>@<revision>".
        status: "ok" (to be used), "rejected" (by a filter; the file is there), "failed" (no file).
        reason: why it is not "ok", in words a person can act on.
        sha256: of the file, 64 hexadecimal digits; "" if failed.
        source_images: images of the person that the generator learned from or started with,
            relative to the source set's folder.
        source_camera_id: camera of the first of them as fastreid counts (from 0); -1 not known.
        camera_id: camera the image imitates, in the generator's own numbers from 0; -1 none.
        prompt: text it was made from; "" none.
        conditions: pose, view and the like, flat: name -> text, number or truth value; angles in
            degrees.
        steps: denoising steps; 0 not known.
        guidance: scale of classifier-free guidance; 0 not known.
        scores: filter -> score, finite.
    """

    file_name: str
    source_dataset: str
    person_id: int
    seed: int
    model_ids: tuple[str, ...]
    status: str = "ok"
    reason: str = ""
    sha256: str = ""
    source_images: tuple[str, ...] = ()
    source_camera_id: int = -1
    camera_id: int = -1
    prompt: str = ""
    conditions: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)
    steps: int = 0
    guidance: float = 0.0
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError if a field has the wrong type or contradicts another."""
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
        for condition, expectation in _expectations(self):
            if not condition:
                raise ValueError(f"expected {expectation}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedSet:
    """What ``dataset.json`` says of a set.

    Attributes:
        generator: tool that made it, with version.
        base_models: models it started from, "<id>@<revision>".
        config_hash: of the generator's configuration.
        package_versions: package -> version.
        counts: status -> number of rows; {} if not counted.
        schema_version: of these files.
    """

    generator: str
    base_models: tuple[str, ...] = ()
    config_hash: str = ""
    package_versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Raise ValueError for a wrong type or another schema."""
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"expected schema_version {SCHEMA_VERSION}, got {self.schema_version}; "
                "read the set with the version of fastreid_ext that wrote it"
            )


def from_json(cls: type[Record], text: str, where: str) -> Record:
    """Make a ``cls`` of one JSON object; ValueError begins with ``where``."""
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}); was the writer interrupted?") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(values).__name__}")
    known = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys are {sorted(known)}"
        raise ValueError(f"{where}: unknown keys {unknown}; {hint}")
    required = {
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(values)):
        raise ValueError(f"{where}: missing keys {missing}")
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    try:
        return cls(**{**values, **lists})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _check_type(field: dataclasses.Field, value: Any) -> None:
    if not _has_type(field.type, value):
        raise ValueError(
            f"expected {field.name} as {_type_name(field.type)}, got {value!r} "
            f"({type(value).__name__})"
        )


def _has_type(expected: Any, value: Any) -> bool:
    plain = {str: str, int: int, float: (int, float)}
    if expected in plain:
        is_bool = isinstance(value, bool)  # bool is an int to Python, not to a reader
        return isinstance(value, plain[expected]) and not is_bool and _is_finite(value)
    if expected == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    if not isinstance(value, Mapping):
        return False
    if expected == Mapping[str, float]:
        types: tuple[type, ...] = (int, float)
    else:
        types = {Mapping[str, int]: (int,), Mapping[str, str]: (str,)}.get(
            expected, (str, int, float, bool)
        )
    return all(isinstance(part, types) and _is_finite(part) for part in value.values())


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or abs(value) < float("inf")


def _type_name(expected: Any) -> str:
    if isinstance(expected, type):
        return expected.__name__
    return "a list of strings" if expected == tuple[str, ...] else "an object of plain values"


def _expectations(image: GeneratedImage) -> Iterator[tuple[bool, str]]:
    """Yield (holds, what was expected and what came)."""
    has_file = image.status != "failed"
    path = PurePosixPath(image.file_name)
    is_inside = not path.is_absolute() and ".." not in path.parts and "\\" not in image.file_name
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    yield (
        is_inside and is_image,
        f"file_name to be a {', '.join(IMAGE_SUFFIXES)} file below the manifest's folder, got "
        f"'{image.file_name}'",
    )
    yield image.status in STATUSES, f"status of {', '.join(STATUSES)}, got '{image.status}'"
    yield (
        image.status == "ok" or bool(image.reason),
        f"a reason for status '{image.status}', got ''; say why",
    )
    is_hash = len(image.sha256) == 64 and set(image.sha256) <= set("0123456789abcdef")
    yield (
        is_hash if has_file else not image.sha256,
        f"sha256 of {64 if has_file else 0} lower-case hexadecimal digits for status "
        f"'{image.status}', got '{image.sha256}'",
    )
    for name in ("seed", "steps"):
        yield getattr(image, name) >= 0, f"{name} >= 0, got {getattr(image, name)}"
    for name, low in (("person_id", 0), ("source_camera_id", UNKNOWN), ("camera_id", UNKNOWN)):
        problem = number_problem(getattr(image, name), name, lowest=low)
        yield not problem, problem
