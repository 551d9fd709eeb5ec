"""Keys of ``DATASETS``: allowed values, when they are read, and contradictions."""

from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import Condition, has_any_of, is_any_of, is_filled
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, Names, Range, Read
from fastreid_ext.data.own_sets import (
    GENERATED,
    UNLABELLED,
    data_set_kind,
    data_set_names,
    own_sets,
    parse_subset,
    unlabelled_names,
)
from fastreid_ext.data.positives import PAIRINGS
from fastreid_ext.names import unknown_name

_FOLDER = "PersonFolder"
_TABLE = "PersonTable"
# Data sets that need a key, with the key and its content.
_NEEDED = {
    _FOLDER: (
        "DATASETS.FOLDER",
        "the folder that holds bounding_box_train, query and bounding_box_test",
    ),
    _TABLE: ("DATASETS.TABLE", "the path of the CSV file"),
    UNLABELLED: ("DATASETS.FOLDER", "a folder of images, or a .txt file that lists some"),
}


def _subset_problem(key: str, value: str) -> str:
    try:
        parse_subset(value)
    except ValueError as error:
        return str(error)
    return ""


def _uses(*names: str) -> Condition:
    return has_any_of("DATASETS.NAMES", *names) | has_any_of("DATASETS.TESTS", *names)


_TRAINS = is_filled("DATASETS.NAMES")

ROWS: list[Row] = [
    *rows_of(
        "DATASETS",
        NAMES=ANYTHING,  # judged below: DATASETS.SETS adds names
        TESTS=ANYTHING,
        SETS=ANYTHING,
        COMBINEALL=(ANYTHING, _TRAINS),
        ROOT=ANYTHING,
        PREFLIGHT=Names(("full", "headers", "off")),
        SUBSET=(Read(_subset_problem), _TRAINS),
        FOLDER=(ANYTHING, _uses(_FOLDER, UNLABELLED)),
        TABLE=(ANYTHING, _uses(_TABLE)),
    ),
    *rows_of(
        "DATASETS.GENERATED",
        _uses(GENERATED),
        ROOTS=ANYTHING,
        PERSON_IDS=Names(("new", "kept")),
        CAMERA_RULE=Names(("row", "source", "single", "per_image")),
        MAX_PER_IDENTITY=AT_LEAST_0,
        MAX_IMAGES=AT_LEAST_0,
        BATCH_SHARE=Range(0, 1, is_below=True),
    ),
    *rows_of(
        "DATASETS.POSITIVES",
        is_any_of("INPUT.VIEWS.RECIPE", "pose"),
        ROOTS=ANYTHING,
        PAIRED_BY=Names(PAIRINGS),
        POSES=ANYTHING,
    ),
]


def datasets_problems(cfg: CfgNode) -> list[str]:
    """List contradictions between keys of ``DATASETS``, each with its remedy."""
    try:
        own_sets(cfg)
    except ValueError as error:
        return [str(error)]
    return [*_names(cfg), *_subset(cfg), *_own_data(cfg), *_positives(cfg)]


def _positives(cfg: CfgNode) -> list[str]:
    positives = cfg.DATASETS.POSITIVES
    if cfg.INPUT.VIEWS.RECIPE != "pose" or not cfg.DATASETS.NAMES:
        return []
    problems = []
    if not positives.ROOTS:
        problems.append(
            "INPUT.VIEWS.RECIPE pose needs pose-changed images but DATASETS.POSITIVES.ROOTS is "
            "empty; give the folders of the generated sets"
        )
    unlabelled = unlabelled_names(cfg)
    if positives.PAIRED_BY == "identity" and unlabelled:
        problems.append(
            f"DATASETS.POSITIVES.PAIRED_BY identity needs labels, which {unlabelled[0]} does not "
            "have; set it to image"
        )
    return problems


def _names(cfg: CfgNode) -> list[str]:
    known = data_set_names(cfg)
    return [
        unknown_name(f"DATASETS.{key}", name, known)
        for key in ("NAMES", "TESTS")
        for name in cfg.DATASETS[key]
        if name not in known
    ]


def _subset(cfg: CfgNode) -> list[str]:
    if _subset_problem("", cfg.DATASETS.SUBSET) or not cfg.DATASETS.SUBSET:
        return []
    subset = parse_subset(cfg.DATASETS.SUBSET)
    problems = []
    if cfg.DATASETS.COMBINEALL:
        problems.append(
            f"DATASETS.SUBSET {cfg.DATASETS.SUBSET} takes a part of the training split, but "
            "DATASETS.COMBINEALL adds the test images to it; set one of them to its default"
        )
    if not isinstance(subset, Path):
        return problems
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


def _own_data(cfg: CfgNode) -> list[str]:
    datasets = cfg.DATASETS
    used = {*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS}
    problems = [
        f"DATASETS.TESTS has {name}, which has no labels to test with; name a labelled set, or none"
        for name in datasets.TESTS
        if data_set_kind(cfg, name) == UNLABELLED
    ]
    if GENERATED in datasets.NAMES and not datasets.GENERATED.ROOTS:
        problems.append(
            f"DATASETS.NAMES has {GENERATED} but DATASETS.GENERATED.ROOTS is empty; "
            "give the folders of the generated sets"
        )
    return problems + [
        f"the data set {name} is used but {key} is empty; give {what}"
        for name, (key, what) in _NEEDED.items()
        if name in used and not datasets[key.split(".")[1]]
    ]
