"""What ``DATASETS.SUBSET``, ``DATASETS.FOLDER`` and ``DATASETS.TABLE`` may hold."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode

GENERATED = "GeneratedPersons"
UNLABELLED = "UnlabelledPersons"
_SETTING = re.compile(r"(few_shot|small_scale)_(\d{1,3})(?:_seed(\d{1,9}))?")


@dataclass(frozen=True)
class SubsetSetting:
    """A share of a training split.

    Attributes:
        kind: "few_shot" (percent of the images of each person) or "small_scale" (of the persons).
        percent: 1 to 100.
        seed: another seed gives another choice.
    """

    kind: str
    percent: int
    seed: int = 0

    @property
    def file_name(self) -> str:
        """Name of the list file, e.g. ``few_shot_10_seed0.txt``."""
        return f"{self.kind}_{self.percent}_seed{self.seed}.txt"


def parse_subset(text: str) -> SubsetSetting | Path | None:
    """Return what a value of ``DATASETS.SUBSET`` means; None for "", a path for a list file.

    Raises:
        ValueError: it is neither a setting nor looks like a path.
    """
    if not text:
        return None
    if match := _SETTING.fullmatch(text):
        kind, percent, seed = match[1], int(match[2]), int(match[3] or 0)
        if not 1 <= percent <= 100:
            raise ValueError(
                f"expected a percentage from 1 to 100 in DATASETS.SUBSET, got '{text}'; "
                "an empty value keeps all images"
            )
        return SubsetSetting(kind, percent, seed)
    if os.sep in text or text.endswith(".txt"):
        return Path(text).expanduser()
    raise ValueError(
        "expected few_shot_<percent>, small_scale_<percent> (both may end in _seed<number>) or the "
        f"path of a list file (with a / or ending in .txt) in DATASETS.SUBSET, got '{text}'; "
        "e.g. few_shot_10 or small_scale_30_seed1"
    )


def data_problems(cfg: CfgNode) -> list[str]:
    """Return contradictions between the keys that choose data, each with what to do."""
    return [*_subset_problems(cfg), *_own_data_problems(cfg)]


def _subset_problems(cfg: CfgNode) -> list[str]:
    try:
        subset = parse_subset(cfg.DATASETS.SUBSET)
    except ValueError as error:
        return [str(error)]
    if subset is None:
        return []
    problems = []
    if cfg.DATASETS.COMBINEALL:
        problems.append(
            f"DATASETS.SUBSET {cfg.DATASETS.SUBSET} takes a part of the training split, but "
            "DATASETS.COMBINEALL adds the test images to it; set one of them to its default"
        )
    if isinstance(subset, Path):
        named = [name for name in cfg.DATASETS.NAMES if name != GENERATED]
        if len(named) != 1:
            problems.append(
                f"the list file {subset} (DATASETS.SUBSET) is for one data set, but DATASETS.NAMES "
                f"has {', '.join(named) or 'none'}; name one, or use few_shot_<percent> or "
                "small_scale_<percent>"
            )
        if not subset.is_file():
            problems.append(
                f"no list file at {subset} (DATASETS.SUBSET); tools/make_subset.py writes one"
            )
    return problems


def _own_data_problems(cfg: CfgNode) -> list[str]:
    used = {*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS}
    untestable = [
        f"DATASETS.TESTS has {UNLABELLED}, which has no labels to test with; name a labelled set, "
        "or none"
        for name in cfg.DATASETS.TESTS
        if name == UNLABELLED
    ]
    return untestable + [
        f"the data set {name} is used but {key} is empty; give {what}"
        for name, key, value, what in (
            (
                "PersonFolder",
                "DATASETS.FOLDER",
                cfg.DATASETS.FOLDER,
                "the folder that holds bounding_box_train, query and bounding_box_test",
            ),
            ("PersonTable", "DATASETS.TABLE", cfg.DATASETS.TABLE, "the path of the CSV file"),
            (
                UNLABELLED,
                "DATASETS.FOLDER",
                cfg.DATASETS.FOLDER,
                "a folder of images, or a .txt file that lists some",
            ),
        )
        if name in used and not value
    ]
