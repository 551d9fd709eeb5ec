"""Identities of a registered data set, with numbers instead of fastreid's names."""

import dataclasses
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.configured_sets import dataset_root, open_dataset, training_split
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.own_sets import GENERATED

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SourceIdentity:
    """An identity of the training split.

    Attributes:
        pid: number of the identity, >= 0.
        paths: image paths relative to :func:`source_folder` (absolute if outside), sorted.
        files: image files in the order of ``paths``.
        cameras: camera of each image as fastreid counts, >= 0.
    """

    pid: int
    paths: tuple[str, ...]
    files: tuple[Path, ...]
    cameras: tuple[int, ...]


def source_identities_of(cfg: CfgNode, data_set: str) -> list[SourceIdentity]:
    """List the identities of a training split cut by DATASETS.SUBSET, by number.

    Args:
        cfg: configuration, of which ``DATASETS`` is read.
        data_set: name of the data set in fastreid's DATASET_REGISTRY.

    Raises:
        FileNotFoundError: the data set is missing.
        ValueError: a generated set, one without identities, or DATASETS.COMBINEALL is on.
    """
    if data_set == GENERATED:
        raise ValueError(
            f"DATASETS.NAMES has {data_set}, but identities come from real images; name the sets "
            "it was made from"
        )
    if cfg.DATASETS.COMBINEALL:
        raise ValueError(
            "DATASETS.COMBINEALL is True, but test identities must not be fine-tuned on; set it "
            "False to generate images"
        )
    items, base, message = training_split(cfg, data_set)
    if message:
        logger.info(message)
    prefix = DATASET_REGISTRY.get(data_set).dataset_name
    pids = _numbers("identities", data_set, prefix, (pid for _, pid, _ in items))
    cameras = _numbers("cameras", data_set, prefix, (camera for _, _, camera in items))
    own: dict[int, list[tuple[str, Path, int]]] = defaultdict(list)
    for path, (file, pid, camera) in named_items(items, base).items():
        own[pids[pid]].append((path, Path(file), cameras[camera]))
    return [SourceIdentity(pid, *zip(*own[pid], strict=True)) for pid in sorted(own)]


def source_folder(cfg: CfgNode, data_set: str) -> Path:
    """Find the folder that the image paths of a data set are relative to."""
    return Path(getattr(open_dataset(cfg, data_set), "base", dataset_root(cfg)))


def _numbers(kind: str, data_set: str, prefix: str, texts: Iterable[str]) -> dict[str, int]:
    """Parse the number of each "<prefix>_<number>"; use sorted places if one has no number."""
    known = sorted(set(texts))
    matches = {text: re.fullmatch(rf"{re.escape(prefix)}_(0|[1-9]\d*)", text) for text in known}
    if all(matches.values()):
        return {text: int(match[1]) for text, match in matches.items() if match}
    odd = next(text for text, match in matches.items() if not match)
    logger.warning(
        "The %s of %s have no numbers (e.g. '%s') and are counted by their order instead, so "
        "DATASETS.GENERATED.%s cannot join generated and real images of this set",
        kind,
        data_set,
        odd,
        "PERSON_IDS kept" if kind == "identities" else "CAMERA_RULE source",
    )
    return {text: number for number, text in enumerate(known)}
