"""Records of a generated image and of a generated set: fields, types, checks, JSON."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NoReturn, TypeVar

from fastreid_ext.identity_numbers import UNKNOWN, number_problem
from fastreid_ext.names import unknown_name

SCHEMA_VERSION = 1
STATUSES = ("ok", "rejected", "failed")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


Record = TypeVar("Record")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """Record of one generated image.

    Attributes:
        file_name: path of the image file with "/", relative to the folder of its identity; no "..".
        source_dataset: name of the identity's data set in fastreid's DATASET_REGISTRY, such as
            "Market1501"; "" if the identity is of no data set.
        person_id: number of the identity, >= 0: that in fastreid's training items of the data set,
            or a number of the generator.
        seed: seed of this image, >= 0.
        model_ids: models that took part, each as "<id>@<revision>".
        status: "ok" (usable), "rejected" (by a filter; the file exists) or "failed" (no file).
        reason: reason why the image is not "ok", with a remedy where there is one.
        sha256: SHA-256 of the file, 64 hexadecimal digits; "" for failed images.
        source_images: real images that the generator was fine-tuned on or started from, relative to
            the data set's folder.
        source_camera_id: camera of the first source image as fastreid counts, from 0; -1 if
            unknown.
        camera_id: camera that the image imitates, numbered by the generator from 0; -1 for none.
        prompt: text that the image was generated from; "" for none.
        conditions: pose, view and the like as name -> text, number or truth value; angles in
            degrees.
        steps: number of denoising steps; 0 if unknown.
        guidance: scale of classifier-free guidance; 0 if unknown.
        scores: name of a score -> its finite value.
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
        """Check that fields have the right types and do not contradict each other."""
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
        for condition, expectation in _expectations(self):
            if not condition:
                raise ValueError(f"expected {expectation}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedSet:
    """Description of a generated set: the content of ``dataset.json``.

    Attributes:
        generator: tool that made the set, with its version.
        base_models: models that the generator started from, each as "<id>@<revision>".
        config_hash: hash of the generator's configuration.
        package_versions: name of a package -> its version.
        counts: status -> number of rows; {} if not counted.
        schema_version: version of the file format.
    """

    generator: str
    base_models: tuple[str, ...] = ()
    config_hash: str = ""
    package_versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Check the types of the fields and the version of the format."""
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(
                f"expected schema_version {SCHEMA_VERSION}, got {self.schema_version}; "
                "read the set with the version of fastreid_ext that wrote it"
            )


def from_json(cls: type[Record], text: str, where: str) -> Record:
    """Build a record from one JSON object.

    Args:
        cls: dataclass whose fields the object has.
        text: JSON object with the fields of ``cls``.
        where: place of the object for messages, such as ``file:line``.

    Raises:
        ValueError: the text is damaged or does not fit ``cls``; the message begins with ``where``.
    """
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}); was the writer interrupted?") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(values).__name__}")
    known = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where}: {unknown_name('the keys of the object', unknown[0], known)}")
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
    """Yield for each rule whether it holds, and the expectation with the found value."""
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
