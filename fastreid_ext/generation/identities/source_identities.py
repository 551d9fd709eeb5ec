"""The persons of a registered data set, with numbers instead of fastreid's names for them."""

import dataclasses
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.own_sets import GENERATED
from fastreid_ext.data.sources import dataset_root, open_dataset, training_split

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SourcePerson:
    """A person of the training split.

    Attributes:
        number: person, >= 0.
        paths: of its images, relative to :func:`source_folder` (absolute if outside), sorted.
        files: the same as files.
        cameras: of them, as fastreid counts, >= 0.
    """

    number: int
    paths: tuple[str, ...]
    files: tuple[Path, ...]
    cameras: tuple[int, ...]


def source_persons(cfg: CfgNode, data_set: str) -> list[SourcePerson]:
    """Return the persons of a data set's training split cut by DATASETS.SUBSET, by number.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: it is a generated set, has no persons, or DATASETS.COMBINEALL is on.
    """
    if data_set == GENERATED:
        raise ValueError(
            f"DATASETS.NAMES has {data_set}, but persons are drawn from photographs; name the sets "
            "it was made from"
        )
    if cfg.DATASETS.COMBINEALL:
        raise ValueError(
            "DATASETS.COMBINEALL is True, but images of test persons must not be learned; set it "
            "False to draw persons"
        )
    items, base, said = training_split(cfg, data_set)
    if said:
        logger.info(said)
    prefix = DATASET_REGISTRY.get(data_set).dataset_name
    numbers = _numbers("persons", data_set, prefix, (person for _, person, _ in items))
    cameras = _numbers("cameras", data_set, prefix, (camera for _, _, camera in items))
    own: dict[int, list[tuple[str, Path, int]]] = defaultdict(list)
    for path, (file, person, camera) in named_items(items, base).items():
        own[numbers[person]].append((path, Path(file), cameras[camera]))
    return [SourcePerson(number, *zip(*own[number], strict=True)) for number in sorted(own)]


def source_folder(cfg: CfgNode, data_set: str) -> Path:
    """Return the folder that the paths of a data set's identities start from."""
    return Path(getattr(open_dataset(cfg, data_set), "base", dataset_root(cfg)))


def _numbers(kind: str, data_set: str, prefix: str, texts: Iterable[str]) -> dict[str, int]:
    """Return the number in each "<prefix>_<number>"; places in the sorted list if one has none."""
    known = sorted(set(texts))
    matches = {text: re.fullmatch(rf"{re.escape(prefix)}_(0|[1-9]\d*)", text) for text in known}
    if all(matches.values()):
        return {text: int(match[1]) for text, match in matches.items() if match}
    odd = next(text for text, match in matches.items() if not match)
    logger.warning(
        "The %s of %s are no numbers (e.g. '%s') and are counted by their order instead, so "
        "DATASETS.GENERATED.%s cannot join drawn and real images of this set",
        kind,
        data_set,
        odd,
        "PERSON_IDS kept" if kind == "persons" else "CAMERA_RULE source",
    )
    return {text: number for number, text in enumerate(known)}
