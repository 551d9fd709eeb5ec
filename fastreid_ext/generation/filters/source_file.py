"""Real images as the Re-ID filter needs them: found, turned into features, kept in a file."""

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
from fastreid_ext.data.configured_sets import open_dataset
from fastreid_ext.generation.filters.records import Pixels, read_images
from fastreid_ext.generation.filters.reid import (
    Floats,
    IdentityKey,
    SourceFeatures,
    by_data_set,
    source_features_of,
)
from fastreid_ext.generation.identities.source_identities import source_identities_of

logger = logging.getLogger(__name__)

FILE = "source_features.npz"
_AT_ONCE = 512  # real images in memory
_MOST_UNSEEN = 10_000  # real images whose similarities make a percentile
_SEPARATOR = "/"  # between "reid" and the data set that a model is for
_UNSEEN = "unseen_"  # begins the names of arrays in the file
RealImage = tuple[IdentityKey, Path]


def source_file_name(model: str) -> str:
    """Return the file name of the features by a model "reid" or "reid/<data set>"."""
    data_set = model.partition(_SEPARATOR)[2]
    return f"source_features_{data_set}.npz" if data_set else FILE


def real_images_of(cfg: CfgNode, data_sets: Sequence[str]) -> list[RealImage]:
    """List identity and file of the training images of data sets, cut by DATASETS.SUBSET.

    Raises:
        FileNotFoundError: a data set is missing.
        ValueError: a data set has no identities, or is a generated set.
    """
    return [
        ((data_set, identity.pid), file)
        for data_set in data_sets
        for identity in source_identities_of(cfg, data_set)
        for file in identity.files
    ]


def unseen_real_images(cfg: CfgNode, data_set: str) -> list[RealImage]:
    """List test images of a data set, whose identities are not in its training split.

    Identities without a query, such as the distractors of Market-1501, are left out; so are whole
    identities beyond 10,000 images.

    Raises:
        ValueError: the data set has no test images.
    """
    opened = open_dataset(cfg, data_set)
    own: dict[int, list[Path]] = {}
    for file, pid, *_ in [*opened.query, *opened.gallery]:
        own.setdefault(pid, []).append(Path(file))
    found: list[RealImage] = []
    for number, pid in enumerate(sorted({pid for _, pid, *_ in opened.query})):
        if len(found) >= _MOST_UNSEEN:
            break
        found += [((data_set, number), file) for file in sorted(set(own[pid]))]
    if not found:
        raise ValueError(
            f"expected test images of {data_set}, which the Re-ID model was not trained on, for "
            "GENERATION.FILTER.REID.RULE percentile, got none; set RULE nearest or fixed"
        )
    return found


def source_fingerprint(model: str, images: Sequence[RealImage]) -> str:
    """Hash a model's fingerprint and the names of its real images to 12 hexadecimal digits."""
    total = hashlib.sha256(model.encode())
    for (data_set, number), file in images:
        total.update(f"{data_set} {number} {file.name}\n".encode())
    return total.hexdigest()[:12]


def compute_source(
    features: Callable[[Sequence[Pixels]], NDArray[np.float32]],
    images: Sequence[RealImage],
    fingerprint: str,
    trained_on: Sequence[str] = (),
) -> SourceFeatures:
    """Compute the features of real images; unreadable ones are left out with a warning.

    Args:
        features: Re-ID model that maps images to features (N, D).
        images: identities and files of the real images.
        fingerprint: hash of the model and of the names of the images.
        trained_on: names of the data sets that the model was trained on.

    Raises:
        ValueError: no image can be read.
    """
    labels: list[IdentityKey] = []
    parts: list[NDArray[np.float32]] = []
    with tqdm(total=len(images), unit="image", desc="real images") as bar:
        for chunk in _chunks(images):
            pixels = read_images([file for _, file in chunk], must_reach=True)
            readable = []
            for (identity, _), image in zip(chunk, pixels, strict=True):
                if isinstance(image, str):
                    logger.warning("left out of the source: %s", image)
                    continue
                readable.append(image)
                labels.append(identity)
            if readable:
                parts.append(features(readable))
            bar.update(len(chunk))
    if not parts:
        raise ValueError(
            f"expected readable real images in DATASETS.NAMES, got {len(images)} damaged; "
            "run tools/check_data.py"
        )
    source = source_features_of(np.concatenate(parts), labels, fingerprint)
    return dataclasses.replace(source, trained_on=tuple(sorted(trained_on)))


def write_source(path: Path, source: SourceFeatures) -> None:
    """Write the features of real images for :func:`read_source`."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        data_sets=np.array([data_set for data_set, _ in source.identities], dtype=np.str_),
        numbers=np.array([number for _, number in source.identities], dtype=np.int64),
        means=source.means,
        identity_index=source.identity_index,
        similarities=source.similarities,
        fingerprint=source.fingerprint,
        trained_on=np.array(source.trained_on, dtype=np.str_),
        **{f"{_UNSEEN}{data_set}": values for data_set, values in source.unseen.items()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, buffer.getvalue())


def read_source(path: Path) -> SourceFeatures | None:
    """Read the features of real images; None if there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            identities = zip(file["data_sets"].tolist(), file["numbers"].tolist(), strict=True)
            return SourceFeatures(
                tuple(identities),
                file["means"],
                file["identity_index"],
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
    """Map each data set to the features of its real images in a folder; {} without files.

    A data set with a model of its own is read from that model's file.

    Raises:
        ValueError: a file is damaged.
    """
    paths = [folder / FILE, *sorted(folder.glob("source_features_*.npz"))]
    return by_data_set(source for path in paths if (source := read_source(path)) is not None)


def _unseen_in(file: Mapping[str, Floats]) -> dict[str, Floats]:
    keys = [key for key in file if key.startswith(_UNSEEN)]
    return {key.removeprefix(_UNSEEN): file[key] for key in keys}


def _chunks(images: Sequence[RealImage]) -> Iterator[Sequence[RealImage]]:
    for start in range(0, len(images), _AT_ONCE):
        yield images[start : start + _AT_ONCE]
