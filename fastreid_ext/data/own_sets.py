"""Read custom data sets of ``DATASETS.SETS`` and the setting of ``DATASETS.SUBSET``."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.names import unknown_name

GENERATED = "GeneratedPersons"
UNLABELLED = "UnlabelledPersons"
_SETTING = re.compile(r"(few_shot|small_scale)_(\d{1,3})(?:_seed(\d{1,9}))?")


# Classes of custom data sets; an entry of DATASETS.SETS makes a data set of one of them.
OWN_CLASSES = ("PersonFolder", "PersonTable", UNLABELLED)
_SET = re.compile(r"(?P<name>[A-Za-z][\w-]*)\s*=\s*(?:(?P<kind>\w+):)?(?P<path>.+)")


@dataclass(frozen=True)
class OwnSet:
    """Custom data set, an entry of ``DATASETS.SETS``.

    Attributes:
        kind: class that reads the data set, one of ``OWN_CLASSES``.
        path: folder, table or list of the images.
    """

    kind: str
    path: str


def own_sets(cfg: CfgNode) -> dict[str, OwnSet]:
    """Read the data sets of ``DATASETS.SETS`` by name.

    Raises:
        ValueError: an entry is not written as name=path, or its name or class cannot be used.
    """
    sets: dict[str, OwnSet] = {}
    for text in cfg.DATASETS.SETS:
        match = _SET.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                "expected name=path or name=class:path in DATASETS.SETS, got "
                f"'{text}'; e.g. Shop=/data/shop or Crowd={UNLABELLED}:/data/crowd"
            )
        name = match["name"]
        path = match["path"].strip()
        kind = match["kind"] or ("PersonTable" if path.endswith(".csv") else "PersonFolder")
        if kind not in OWN_CLASSES:
            raise ValueError(unknown_name(f"DATASETS.SETS '{text}'", kind, OWN_CLASSES))
        if name.lower() in map(str.lower, (*sets, *_registered_by_others())):
            raise ValueError(
                f"the name '{name}' in DATASETS.SETS is taken by another data set (case does not "
                "count); choose another name"
            )
        sets[name] = OwnSet(kind, path)
    return sets


def _registered_by_others() -> list[str]:
    registered = DATASET_REGISTRY._obj_map  # fastreid's Registry offers no other way
    return [name for name, cls in registered.items() if not hasattr(cls, "is_entry_of_sets")]


def register_own_sets(cfg: CfgNode) -> None:
    """Register the names of ``DATASETS.SETS`` with fastreid; paths stay in the configuration."""
    for name, own in own_sets(cfg).items():
        attributes = {
            "dataset_name": name.lower(),
            "key": "DATASETS.SETS",
            "is_entry_of_sets": True,
        }
        cls = type(name, (DATASET_REGISTRY.get(own.kind),), attributes)
        DATASET_REGISTRY._obj_map[name] = cls  # another configuration may have used the name


def data_set_names(cfg: CfgNode) -> list[str]:
    """List all names that DATASETS.NAMES and DATASETS.TESTS may hold."""
    try:
        return [*_registered_by_others(), *own_sets(cfg)]
    except ValueError:  # checks/datasets.py names the mistake
        return list(DATASET_REGISTRY._obj_map)


def unlabelled_names(cfg: CfgNode) -> list[str]:
    """List the names in DATASETS.NAMES of data sets without labels."""
    try:
        return [name for name in cfg.DATASETS.NAMES if data_set_kind(cfg, name) == UNLABELLED]
    except ValueError:  # checks/datasets.py names the mistake
        return []


def data_set_kind(cfg: CfgNode, name: str) -> str:
    """Look up the class that reads a data set: that of a custom set, otherwise its own name."""
    own = own_sets(cfg).get(name)
    return name if own is None else own.kind


@dataclass(frozen=True)
class SubsetSetting:
    """Setting of a sampled share of a training split.

    Attributes:
        kind: "few_shot" (percent of the images of each identity) or "small_scale" (percent of the
            identities).
        percent: share in percent, 1 to 100.
        seed: seed of the choice, >= 0.
    """

    kind: str
    percent: int
    seed: int = 0

    @property
    def file_name(self) -> str:
        """Name of the list file, e.g. ``few_shot_10_seed0.txt``."""
        return f"{self.kind}_{self.percent}_seed{self.seed}.txt"


def parse_subset(text: str) -> SubsetSetting | Path | None:
    """Parse a value of ``DATASETS.SUBSET``: "" to None, the path of a list file to a path.

    Raises:
        ValueError: the value is not a setting and does not look like a path.

    Example:
        >>> parse_subset("few_shot_10_seed1")
        SubsetSetting(kind='few_shot', percent=10, seed=1)
    """
    if not text:
        return None
    if match := _SETTING.fullmatch(text):
        percent = int(match[2])
        if not 1 <= percent <= 100:
            raise ValueError(
                f"expected a percentage from 1 to 100 in DATASETS.SUBSET, got '{text}'; "
                "an empty value keeps all images"
            )
        return SubsetSetting(match[1], percent, int(match[3] or 0))
    if os.sep in text or text.endswith(".txt"):
        return Path(text).expanduser()
    raise ValueError(
        "expected few_shot_<percent>, small_scale_<percent> (both may end in _seed<number>) or the "
        f"path of a list file (with a / or ending in .txt) in DATASETS.SUBSET, got '{text}'; "
        "e.g. few_shot_10 or small_scale_30_seed1"
    )
