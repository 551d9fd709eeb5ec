"""Stage 1: list the identities to generate, and the reference images of each.

An identity is one of the training split of a registered data set, cut by DATASETS.SUBSET as in
training. Its references are images of one camera in the order of their frames ("consecutive images
of one ID from the same camera" [0]), unless GENERATION.IDENTITIES says otherwise.

[0] "Synthesizing Efficient Data with Diffusion Models for Person Re-Identification Pre-Training"
"""

import dataclasses
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import sched_getaffinity
from pathlib import Path

import cv2
import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.generation.identities.source_identities import (
    SourceIdentity,
    source_identities_of,
)
from fastreid_ext.generation.identities.tracklets import frames_of, longest_tracklet, round_robin
from fastreid_ext.generation.runs.disk import is_outage
from fastreid_ext.manifest.record import from_json

logger = logging.getLogger(__name__)
_REPORTED_EVERY = 500  # identities


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceImage:
    """One real image of an identity.

    Attributes:
        path: path with "/", relative to the data sets' folder (of own sets: to the set's folder).
        camera: number of the camera as fastreid counts, from 0.
        frame: number within ``sequence``; see :mod:`fastreid_ext.generation.identities.tracklets`.
        sequence: recording that the image is from; "" if unknown.
    """

    path: str
    camera: int
    frame: int
    sequence: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """An identity and its references.

    Attributes:
        name: "<registered data set>_<person_id>", four digits or more; also a folder's name.
        source_dataset: name of the data set in fastreid's DATASET_REGISTRY.
        person_id: number of the identity in fastreid's training items of the set.
        images: references of the identity, in order; () if it is left out.
        reason: reason why the identity is left out; "" if it is used.
        unusable: path of a real image that cannot be a reference -> reason.
    """

    name: str
    source_dataset: str
    person_id: int
    images: tuple[SourceImage, ...]
    reason: str = ""
    unusable: Mapping[str, str] = dataclasses.field(default_factory=dict)


def find_identities(cfg: CfgNode) -> list[Identity]:
    """List the identities of DATASETS.NAMES by name, those left out with the reason.

    With IDENTITIES.LIMIT the list ends with the last identity that is used.

    Raises:
        FileNotFoundError: a data set is missing.
        OSError: an image cannot be reached; a damaged one is unusable instead.
        ValueError: a data set has no identities.
    """
    rules = cfg.GENERATION.IDENTITIES
    found: list[Identity] = []
    sources = [
        (f"{data_set}_{source.pid:04d}", data_set, source)
        for data_set in cfg.DATASETS.NAMES
        for source in source_identities_of(cfg, data_set)
    ]
    used = 0
    with ThreadPoolExecutor(min(8, len(sched_getaffinity(0)))) as threads:
        for name, data_set, source in sorted(sources, key=lambda entry: entry[0]):
            problems = threads.map(lambda image: _problem(image, rules), source.files)
            found.append(_identity(name, data_set, source, list(problems), rules))
            used += not found[-1].reason
            if used == rules.LIMIT > 0:
                break
            if len(found) % _REPORTED_EVERY == 0:
                logger.info("Checked %d of %d identities, %d used", len(found), len(sources), used)
    return found


def used_identities(identities: Iterable[Identity]) -> list[Identity]:
    """Select the identities that are not left out.

    Raises:
        ValueError: all are left out; the message has the most frequent reason.
    """
    identities = list(identities)
    used = [identity for identity in identities if not identity.reason]
    if not used:
        reasons = Counter(identity.reason for identity in identities)
        example = reasons.most_common(1)[0][0] if reasons else "there are none"
        raise ValueError(
            f"none of {len(identities)} identities can be used, most often: {example}; loosen the "
            "rules of GENERATION.IDENTITIES"
        )
    return used


def load_images(identity: Identity, root: str | Path) -> list[NDArray[np.uint8]]:
    """Read the references of an identity as (H, W, 3) uint8 RGB of different sizes.

    Args:
        identity: identity whose references are to be read.
        root: folder that the paths are relative to; see :func:`.source_identities.source_folder`.

    Raises:
        OSError: a file is missing or damaged; the message names it.
    """
    return [read_pixels(Path(root) / image.path) for image in identity.images]


def left_out(identities: Iterable[Identity]) -> dict[str, list[str]]:
    """Group the identities that are left out by the kind of reason.

    Returns:
        Reason with numbers as 0 -> list of "<identity>: <reason>", the most frequent reason first.
    """
    found: dict[str, list[str]] = {}
    for identity in identities:
        if identity.reason:
            kind = re.sub(r"\d+", "0", identity.reason.partition(";")[0])
            found.setdefault(kind, []).append(f"{identity.name}: {identity.reason}")
    return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))


def write_identities(path: str | Path, identities: Iterable[Identity]) -> None:
    """Write one line of JSON per identity."""
    lines = (json.dumps(dataclasses.asdict(identity)) + "\n" for identity in identities)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, "".join(lines))


def read_identities(path: str | Path) -> list[Identity]:
    """Read the list of :func:`write_identities`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a line is damaged; the message begins with ``file:line``.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no identities at {path}; write them with tools/generate_persons.py list"
        )
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [_from_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def summary(identities: Sequence[Identity]) -> str:
    """Summarise how many identities and images are used, and how many were left out."""
    used = [identity for identity in identities if not identity.reason]
    images = sum(len(identity.images) for identity in used)
    unusable = sum(len(identity.unusable) for identity in identities)
    return (
        f"{len(used)} identities with {images} reference images; {len(identities) - len(used)} "
        f"left out, {unusable} images unusable"
    )


def _problem(path: Path, rules: CfgNode) -> str:
    """Describe why a real image cannot be a reference; "" if it can."""
    try:
        pixels = read_pixels(path)
    except OSError as error:
        if is_outage(error):  # the image may be good
            raise
        # The path is listed with the reason.
        return f"cannot be read: {error.__cause__ or error}".replace(f" {str(path)!r}", "")
    if len(pixels) < rules.MIN_HEIGHT:
        return f"{len(pixels)} pixels high, less than MIN_HEIGHT {rules.MIN_HEIGHT}"
    if rules.MIN_SHARPNESS and (found := sharpness(pixels)) < rules.MIN_SHARPNESS:
        return f"sharpness {found:.1f}, less than MIN_SHARPNESS {rules.MIN_SHARPNESS}"
    return ""


def sharpness(image: NDArray[np.uint8]) -> float:
    """Compute the variance of the Laplacian of the grey values of an image (H, W, 3) uint8 RGB.

    Example:
        >>> sharpness(np.full((8, 8, 3), 100, np.uint8))
        0.0
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def _identity(
    name: str, data_set: str, source: SourceIdentity, problems: Sequence[str], rules: CfgNode
) -> Identity:
    shots = list(_shots(source))
    good = [shot for shot, problem in zip(shots, problems, strict=True) if not problem]
    if rules.SAME_CAMERA:
        chosen = longest_tracklet(good, rules.MAX_FRAME_GAP)[: rules.MAX_IMAGES or None]
    else:
        chosen = round_robin(good, rules.MAX_IMAGES)
    unusable = {s.path: problem for s, problem in zip(shots, problems, strict=True) if problem}
    reason = ""
    if len(chosen) < rules.MIN_IMAGES:
        reason = _too_few(len(chosen), len(good), unusable, rules)
    return Identity(
        name=name,
        source_dataset=data_set,
        person_id=source.pid,
        images=() if reason else tuple(chosen),
        reason=reason,
        unusable=unusable,
    )


def _shots(source: SourceIdentity) -> Iterator[SourceImage]:
    """Yield the images in the order of ``source.paths``."""
    frames: dict[str, tuple[str, int]] = {}
    for camera in set(source.cameras):
        own = [p for p, c in zip(source.paths, source.cameras, strict=True) if c == camera]
        frames |= dict(zip(own, frames_of(own), strict=True))
    for path, camera in zip(source.paths, source.cameras, strict=True):
        sequence, frame = frames[path]
        yield SourceImage(path=path, camera=camera, frame=frame, sequence=sequence)


def _too_few(count: int, good: int, unusable: Mapping[str, str], rules: CfgNode) -> str:
    where = " of one camera" if rules.SAME_CAMERA and good > count else ""
    text = f"{count} usable images{where}, expected {rules.MIN_IMAGES} (MIN_IMAGES)"
    if where:
        text += f"; SAME_CAMERA False would give {good}"
    if unusable:
        path, why = next(iter(unusable.items()))
        text += f"; {len(unusable)} unusable, e.g. {path}: {why}"
    return text


def _from_line(line: str, where: str) -> Identity:
    identity = from_json(Identity, line, where)
    try:
        images = tuple(SourceImage(**image) for image in identity.images)
    except TypeError as error:
        raise ValueError(
            f"{where}: expected images with path, camera, frame and sequence, got: {error}; write "
            "the file again with tools/generate_persons.py list"
        ) from error
    return dataclasses.replace(identity, images=images)
