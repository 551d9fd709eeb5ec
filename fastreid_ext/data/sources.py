"""Open the data sets a configuration names, in a fixed order and with clear errors."""

import itertools
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from numpy.typing import NDArray

from fastreid_ext.data.item_arrays import AnyItem, ItemArrays
from fastreid_ext.data.named_items import named_items
from fastreid_ext.data.own_sets import (
    GENERATED,
    SubsetSetting,
    data_set_kind,
    own_sets,
    register_own_sets,
)
from fastreid_ext.data.subsets import read_subset, subset_items, write_subset

# What fastreid's classes look for below DATASETS.ROOT, for the error when it is missing.
EXPECTED_FOLDERS = {
    "Market1501": "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "DukeMTMC": "DukeMTMC-reID/{bounding_box_train,query,bounding_box_test}/*.jpg",
    "MSMT17": "MSMT17_V1/{train,test} or MSMT17_V2/{mask_train_v2,mask_test_v2}, and list_*.txt",
    "CUHK03": "cuhk03/cuhk03_release/cuhk-03.mat and "
    "cuhk03/cuhk03_new_protocol_config_{detected,labeled}.mat",
    "CUHK02": "cuhk02/Dataset/{P1,P2,P3,P4,P5}/{cam1,cam2}/*.png",
    "cuhkSYSU": "cuhk_sysu/cropped_images/*.jpg",
    "PersonX": "PersonX/{bounding_box_train,query,bounding_box_test} or PersonX_v1/{4,5,6}/...",
    "RandPerson": "randperson_subset/*.jpg",
    "ClonedPerson": "clonedperson/{train,test/query,test/gallery}/*.jpg",
}

# The user's own data: argument of the class and key of DATASETS that hold the path.
_OWN = {
    "PersonFolder": ("folder", "FOLDER"),
    "PersonTable": ("table", "TABLE"),
    "UnlabelledPersons": ("folder", "FOLDER"),
}


@dataclass
class TrainingItems:
    """Training images of several data sets, one after the other.

    Attributes:
        items: the images.
        parts: data set of DATASETS.NAMES and number of its images, in the order of ``items``.
        subsets: what DATASETS.SUBSET left of each set.
        modalities: (N,) int, 0 visible and 1 infrared; None = all visible.
    """

    items: ItemArrays
    parts: list[tuple[str, int]]
    subsets: list[str] = field(default_factory=list)
    modalities: NDArray[np.int8] | None = None

    @classmethod
    def given(cls, items: Iterable[AnyItem], name: str = "given") -> "TrainingItems":
        """Return training images that no registered data set lists.

        Args:
            items: tuples (path, pid, camid); pids and camids are all strings or all numbers.
            name: what the log calls them.
        """
        arrays = ItemArrays.of(items)
        return cls(arrays, [(name, len(arrays))])

    @property
    def domains(self) -> NDArray[np.int16]:
        """(N,) places of the images' data sets among the names, each name counted once."""
        names = list(dict.fromkeys(name for name, _ in self.parts))
        places = np.array([names.index(name) for name, _ in self.parts], np.int16)
        return np.repeat(places, [count for _, count in self.parts])

    @property
    def source(self) -> list[str]:
        """Data set of each image."""
        return [name for name, count in self.parts for _ in range(count)]

    @property
    def is_generated(self) -> NDArray[np.bool_]:
        """(N,) whether each image is generated."""
        kinds = np.array([name == GENERATED for name, _ in self.parts], bool)
        return np.repeat(kinds, [count for _, count in self.parts])

    def by_set(self) -> dict[str, ItemArrays]:
        """Return the images of each data set."""
        ends = itertools.accumulate(count for _, count in self.parts)
        places: dict[str, list[range]] = {}
        for (name, count), end in zip(self.parts, ends, strict=True):
            places.setdefault(name, []).append(range(end - count, end))
        return {name: self.items.take(np.concatenate(own)) for name, own in places.items()}


def dataset_root(cfg: CfgNode) -> str:
    """Folder that holds the data sets: DATASETS.ROOT, else FASTREID_DATASETS, else ./datasets."""
    return os.path.expanduser(cfg.DATASETS.ROOT or os.getenv("FASTREID_DATASETS", "datasets"))


def training_items(cfg: CfgNode) -> TrainingItems:
    """Return the training images of all of DATASETS.NAMES, each set sorted by path.

    DATASETS.SUBSET cuts each set; see :mod:`fastreid_ext.data.subsets`.

    Raises:
        FileNotFoundError: a data set is not there; the message names the folder expected.
        ValueError: a data set has no training images, a generated set is damaged, or the list of
            DATASETS.SUBSET is not one for the data set.
    """
    splits = [training_split(cfg, name)[::2] for name in cfg.DATASETS.NAMES]
    parts = [
        (name, len(items)) for name, (items, _) in zip(cfg.DATASETS.NAMES, splits, strict=True)
    ]
    subsets = [said for _, said in splits if said]
    joined = ItemArrays.joined([items for items, _ in splits])
    return TrainingItems(joined, parts, subsets, _modalities(parts, joined.paths))


def modalities_of(name: str, paths: Sequence[str]) -> NDArray[np.int8] | None:
    """Return the modality of each image of a data set, 0 visible or 1 infrared.

    A data set with infrared images has a static method ``modality_of(path)``; None without.
    """
    rule = getattr(DATASET_REGISTRY.get(name), "modality_of", None)
    return None if rule is None else np.fromiter(map(rule, paths), np.int8, len(paths))


def _modalities(parts: list[tuple[str, int]], paths: Sequence[str]) -> NDArray[np.int8] | None:
    found = []
    begin = 0
    for name, count in parts:
        found.append(modalities_of(name, paths[begin : begin + count]))
        begin += count
    if all(modalities is None for modalities in found):
        return None
    return np.concatenate(
        [
            np.zeros(count, np.int8) if modalities is None else modalities
            for modalities, (_, count) in zip(found, parts, strict=True)
        ]
    )


def training_split(cfg: CfgNode, name: str) -> tuple[ItemArrays, Path, str]:
    """Return the training images of one data set that DATASETS.SUBSET leaves, sorted by path.

    Also the folder that their paths are named from, and what was cut, in words ("" if nothing).

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: as :func:`training_items`.
    """
    items, base, lists = _training_split(cfg, name)
    if name == GENERATED:
        return items, base, ""
    kept, said = subset_items(cfg.DATASETS.SUBSET, name, items, base, lists)
    return kept, base, said


def write_subset_lists(
    cfg: CfgNode, name: str, settings: Iterable[SubsetSetting], output: Path | None = None
) -> Iterator[tuple[Path, bool]]:
    """Yield the list file of each setting and whether it was written now or was there.

    Args:
        cfg: says where the data set is.
        name: registered name.
        settings: what to draw.
        output: folder for the lists; None for the one that DATASETS.SUBSET reads.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: a list that is there is not one of this data set.
        OSError: a list cannot be written.
    """
    items, base, lists = _training_split(cfg, name)
    named = named_items(items, base)
    for setting in settings:
        file = (output or lists) / setting.file_name
        is_new = not file.exists()
        if is_new:
            write_subset(file, setting, name, named)
        read_subset(file, name, named, setting)
        yield file, is_new


def _training_split(cfg: CfgNode, name: str) -> tuple[ItemArrays, Path, Path]:
    """Return all training images, the folder their listed paths start from, that of the lists."""
    dataset = open_dataset(cfg, name, combineall=cfg.DATASETS.COMBINEALL)
    with _explained(name, cfg):
        items = _sorted_items(dataset.train)
    if name == GENERATED and not len(items):
        raise ValueError(
            f"{', '.join(cfg.DATASETS.GENERATED.ROOTS)} (DATASETS.GENERATED.ROOTS) have no image "
            f"with status ok, got {dataset.statuses}; loosen the filter and decide again, or "
            "generate more"
        )
    if cfg.DATASETS.COMBINEALL:
        items = _with_one_name_per_camera(items, dataset.dataset_name)
    if not len(items):
        raise ValueError(
            f"data set {name} below {dataset_root(cfg)} has no training images; "
            f"expected {expected_folder(name, cfg)}"
        )
    # The user's own sets lie anywhere, and their lists beside them.
    base = Path(getattr(dataset, "base", dataset_root(cfg)))
    lists = base / "subsets" / getattr(dataset, "list_name", name)
    return items, base, lists


def _sorted_items(items: Sequence[tuple[Any, Any, Any]]) -> ItemArrays:
    """Return training items of a data set's class, sorted, with names for pids and camids."""
    if isinstance(items, ItemArrays):
        return items.sorted()
    return ItemArrays.of((str(path), str(pid), str(camid)) for path, pid, camid in sorted(items))


def _with_one_name_per_camera(items: ItemArrays, dataset_name: str) -> ItemArrays:
    """Give test images the camera names of training images; fastreid's combine_all has others."""
    test = f"{dataset_name}_test_"
    if not any(name.startswith(test) for name in items.cam_names or ()):
        return items
    return ItemArrays.of(
        (path, pid, camid.replace(test, f"{dataset_name}_", 1)) for path, pid, camid in items
    )


def _sorted(items: Sequence[tuple[Any, Any, Any]]) -> Sequence[tuple[Any, Any, Any]]:
    return items.sorted() if isinstance(items, ItemArrays) else sorted(items)


def query_and_gallery(cfg: CfgNode, name: str) -> tuple[ItemArrays, int]:
    """Return the images of a test set, queries first, and the number of queries.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: it has no queries or no gallery.
    """
    dataset = open_dataset(cfg, name)
    with _explained(name, cfg):
        splits = (dataset.query, dataset.gallery)
        counts = [len(split) for split in splits]
        items = ItemArrays.of(
            (str(path), int(pid), int(camid))
            for split in splits
            for path, pid, camid in _sorted(split)
        )
    if not all(counts):
        raise ValueError(
            f"expected queries and a gallery in data set {name}, got {counts[0]} and "
            f"{counts[1]} images; expected {expected_folder(name, cfg)}, or take the set out "
            "of DATASETS.TESTS"
        )
    return items, counts[0]


def open_dataset(cfg: CfgNode, name: str, **kwargs: Any) -> ImageDataset:
    """Return the data set registered under ``name``.

    Raises:
        KeyError: no such name is registered.
        FileNotFoundError: its files are missing.
        ValueError: fastreid would read persons and cameras off the folder's name.
    """
    root = dataset_root(cfg)
    register_own_sets(cfg)
    if _is_of_host(name) and re.search(r"[-\d]_c\d", root):
        # Its pattern for 0001_c1s1_000001_00.jpg is searched in the whole path.
        raise ValueError(
            f"DATASETS.ROOT {root} has a part like '1_c1', which fastreid takes for person and "
            f"camera of every image of {name}; rename the folder or go through a symbolic link"
        )
    if name == GENERATED:
        generated = cfg.DATASETS.GENERATED
        kwargs |= {
            "roots": list(generated.ROOTS),
            "person_ids": generated.PERSON_IDS,
            "camera_rule": generated.CAMERA_RULE,
            "max_per_identity": generated.MAX_PER_IDENTITY,
        }
    kind = data_set_kind(cfg, name)
    if kind in _OWN:
        kwargs[_OWN[kind][0]] = _own_path(cfg, name)[0]
    with _explained(name, cfg):
        return DATASET_REGISTRY.get(name)(root=root, **kwargs)


def _own_path(cfg: CfgNode, name: str) -> tuple[str, str]:
    """Return the path of a data set of the user's own and the key that holds it."""
    sets = own_sets(cfg)
    if name in sets:
        return sets[name].path, "DATASETS.SETS"
    key = _OWN[name][1]
    return cfg.DATASETS[key], f"DATASETS.{key}"


def expected_folder(name: str, cfg: CfgNode) -> str:
    """Say where the files of a data set are looked for."""
    if data_set_kind(cfg, name) in _OWN:
        path, key = _own_path(cfg, name)
        return f"{path} ({key}) to list some"
    cls = DATASET_REGISTRY.get(name)
    known = [base.__name__ for base in cls.__mro__ if base.__name__ in EXPECTED_FOLDERS]
    below = EXPECTED_FOLDERS[known[0]] if known else getattr(cls, "dataset_dir", "")
    return str(Path(dataset_root(cfg)) / below)


@contextmanager
def _explained(name: str, cfg: CfgNode) -> Iterator[None]:
    """Turn what fastreid's classes raise for missing files into one clear error."""
    try:
        with warnings.catch_warnings():
            # "The current data structure is deprecated": a missing Market-1501 folder.
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise ImportError(
            f"data set {name} needs the package {error.name} to unpack its files; "
            f"pip install {error.name}"
        ) from error
    except (RuntimeError, AssertionError, OSError) as error:
        if not _is_of_host(name):
            raise
        raise FileNotFoundError(
            f"data set {name} is not complete: expected {expected_folder(name, cfg)}, got: "
            f"{error}; put it there, or name the folder that holds it in DATASETS.ROOT "
            "(or in the environment's FASTREID_DATASETS)"
        ) from error


def _is_of_host(name: str) -> bool:
    """Whether fastreid's code looks for the files (also in a thin subclass of ours)."""
    modules = {base.__module__ for base in DATASET_REGISTRY.get(name).__mro__}
    return any(
        module.startswith("fastreid.data.datasets.") and module != ImageDataset.__module__
        for module in modules
    )
