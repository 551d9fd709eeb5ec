"""The photographs as the Re-ID filter needs them, computed once: ``source_features.npz``."""

import dataclasses
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray
from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.data.sources import open_dataset
from fastreid_ext.generation.filters.records import Pixels, read_images
from fastreid_ext.generation.filters.reid import (
    Floats,
    Person,
    SourceFeatures,
    by_data_set,
    source_features_of,
)
from fastreid_ext.generation.identities.source_identities import source_persons

logger = logging.getLogger(__name__)

FILE = "source_features.npz"
_AT_ONCE = 512  # photographs in memory
_MOST_UNSEEN = 10_000  # photographs whose similarities make a percentile
_SEPARATOR = "/"  # between "reid" and the data set that a model is for
_UNSEEN = "unseen_"  # begins the names of arrays in the file
Photograph = tuple[Person, Path]


def source_name(model: str) -> str:
    """Return the file name of the features that a model ("reid" or "reid/<data set>") made."""
    data_set = model.partition(_SEPARATOR)[2]
    return f"source_features_{data_set}.npz" if data_set else FILE


def photographs_of(cfg: CfgNode, data_sets: Sequence[str]) -> list[Photograph]:
    """Return whom each photograph of some data sets shows, cut by DATASETS.SUBSET, and its file.

    Raises:
        FileNotFoundError: a data set is not there.
        ValueError: it has no persons, or is a generated set.
    """
    return [
        ((data_set, person.number), file)
        for data_set in data_sets
        for person in source_persons(cfg, data_set)
        for file in person.files
    ]


def unseen_photographs(cfg: CfgNode, data_set: str) -> list[Photograph]:
    """Return photographs of the test persons of a data set, who are nobody of its training split.

    Persons without a query, such as the distractors of Market-1501, are left out; so are whole
    persons beyond 10,000 photographs.

    Raises:
        ValueError: the data set has no test images.
    """
    opened = open_dataset(cfg, data_set)
    own: dict[int, list[Path]] = {}
    for file, person, *_ in [*opened.query, *opened.gallery]:
        own.setdefault(person, []).append(Path(file))
    found: list[Photograph] = []
    for number, person in enumerate(sorted({person for _, person, *_ in opened.query})):
        if len(found) >= _MOST_UNSEEN:
            break
        found += [((data_set, number), file) for file in sorted(set(own[person]))]
    if not found:
        raise ValueError(
            f"expected test images of {data_set}, which the Re-ID model was not trained on, for "
            "GENERATION.FILTER.REID.RULE percentile, got none; set RULE nearest or fixed"
        )
    return found


def source_fingerprint(model: str, photographs: Sequence[Photograph]) -> str:
    """Return 12 hexadecimal digits of a model's fingerprint and the names of the photographs."""
    total = hashlib.sha256(model.encode())
    for (data_set, number), file in photographs:
        total.update(f"{data_set} {number} {file.name}\n".encode())
    return total.hexdigest()[:12]


def compute_source(
    features: Callable[[Sequence[Pixels]], NDArray[np.float32]],
    photographs: Sequence[Photograph],
    fingerprint: str,
    trained_on: Sequence[str] = (),
) -> SourceFeatures:
    """Look at all photographs; those that cannot be read are left out with a warning.

    Raises:
        ValueError: none can be read.
    """
    labels: list[Person] = []
    parts: list[NDArray[np.float32]] = []
    with tqdm(total=len(photographs), unit="image", desc="photographs") as bar:
        for chunk in _chunks(photographs):
            images = read_images([file for _, file in chunk], must_reach=True)
            good = [not isinstance(image, str) for image in images]
            for image in images:
                if isinstance(image, str):
                    logger.warning("left out of the source: %s", image)
            if any(good):
                parts.append(
                    features([image for image, ok in zip(images, good, strict=True) if ok])
                )
            labels += [person for (person, _), ok in zip(chunk, good, strict=True) if ok]
            bar.update(len(chunk))
    if not parts:
        raise ValueError(
            f"expected readable photographs in DATASETS.NAMES, got {len(photographs)} damaged; "
            "run tools/check_data.py"
        )
    source = source_features_of(np.concatenate(parts), labels, fingerprint)
    return dataclasses.replace(source, trained_on=tuple(sorted(trained_on)))


def write_source(path: Path, source: SourceFeatures) -> None:
    """Write what :func:`read_source` reads."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        data_sets=np.array([data_set for data_set, _ in source.persons], dtype=np.str_),
        numbers=np.array([number for _, number in source.persons], dtype=np.int64),
        means=source.means,
        owners=source.owners,
        similarities=source.similarities,
        fingerprint=source.fingerprint,
        trained_on=np.array(source.trained_on, dtype=np.str_),
        **{f"{_UNSEEN}{data_set}": values for data_set, values in source.unseen.items()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, buffer.getvalue())


def read_source(path: Path) -> SourceFeatures | None:
    """Return the features of the photographs; None if there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            persons = zip(file["data_sets"].tolist(), file["numbers"].tolist(), strict=True)
            return SourceFeatures(
                tuple(persons),
                file["means"],
                file["owners"],
                file["similarities"],
                str(file["fingerprint"]),
                tuple(file["trained_on"].tolist()),
                _unseen_in(file),
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it, and it is computed "
            "again with the model of GENERATION.FILTER.REID"
        ) from error


def read_sources(folder: Path) -> dict[str, SourceFeatures]:
    """Map each data set to the features of its photographs in a folder; {} if there are none.

    A data set with a model of its own is read from that model's file.

    Raises:
        ValueError: a file is damaged.
    """
    paths = [folder / FILE, *sorted(folder.glob("source_features_*.npz"))]
    return by_data_set(source for path in paths if (source := read_source(path)) is not None)


def _unseen_in(file: Mapping[str, Floats]) -> dict[str, Floats]:
    keys = [key for key in file if key.startswith(_UNSEEN)]
    return {key.removeprefix(_UNSEEN): file[key] for key in keys}


def _chunks(photographs: Sequence[Photograph]) -> Iterator[Sequence[Photograph]]:
    for start in range(0, len(photographs), _AT_ONCE):
        yield photographs[start : start + _AT_ONCE]
