"""The photographs as the Re-ID filter needs them, computed once: ``source_features.npz``."""

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray
from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_bytes
from fastreid_ext.generation.filters.records import Pixels, read_images
from fastreid_ext.generation.filters.reid import Person, SourceFeatures, source_features_of
from fastreid_ext.generation.people.source_persons import source_persons

logger = logging.getLogger(__name__)

FILE = "source_features.npz"
_AT_ONCE = 512  # photographs in memory
Photograph = tuple[Person, Path]


def photographs_of(cfg: CfgNode) -> list[Photograph]:
    """Return whom each photograph of DATASETS.NAMES shows, cut by DATASETS.SUBSET, and its file.

    Raises:
        FileNotFoundError: a data set is not there.
        ValueError: it has no persons, or is a generated set.
    """
    return [
        ((data_set, person.number), file)
        for data_set in cfg.DATASETS.NAMES
        for person in source_persons(cfg, data_set)
        for file in person.files
    ]


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
) -> SourceFeatures:
    """Look at all photographs; those that cannot be read are left out with a warning.

    Raises:
        ValueError: none can be read.
    """
    labels: list[Person] = []
    parts: list[NDArray[np.float32]] = []
    with tqdm(total=len(photographs), unit="image", desc="photographs") as bar:
        for chunk in _chunks(photographs):
            images = read_images([file for _, file in chunk])
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
    return source_features_of(np.concatenate(parts), labels, fingerprint)


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
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it, and it is computed "
            "again with the model of GENERATION.FILTER.REID"
        ) from error


def _chunks(photographs: Sequence[Photograph]) -> Iterator[Sequence[Photograph]]:
    for start in range(0, len(photographs), _AT_ONCE):
        yield photographs[start : start + _AT_ONCE]
