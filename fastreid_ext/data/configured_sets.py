"""Open the data sets that a configuration names: their items in a fixed order, clear errors."""

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

# Files that fastreid's classes expect below DATASETS.ROOT, for the error about missing files.
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
    "SYSUMM01": "SYSU-MM01/{cam1,...,cam6}/<identity>/*.jpg and SYSU-MM01/exp/*_id.txt",
    "RegDB": "RegDB/{Visible,Thermal} and RegDB/idx/{train,test}_{visible,thermal}_<trial>.txt; "
    "tests are named RegDB_trial<n>_visible_to_infrared and RegDB_trial<n>_infrared_to_visible",
    "LLCM": "LLCM/idx, LLCM/test_vis and LLCM/test_nir; tests are named "
    "LLCM_visible_to_infrared and LLCM_infrared_to_visible",
    "ClonedPerson": "clonedperson/{train,test/query,test/gallery}/*.jpg",
}

# Custom data sets: constructor argument and key of DATASETS that hold the path.
_OWN = {
    "PersonFolder": ("folder", "FOLDER"),
    "PersonTable": ("table", "TABLE"),
    "UnlabelledPersons": ("folder", "FOLDER"),
}


@dataclass
class TrainingItems:
    """Training images of several data sets, one after the other.

    Attributes:
        items: (path, pid, camid) of all N images.
        parts: name and number of images of each data set, in the order of ``items``.
        subsets: summary of each data set that DATASETS.SUBSET cut, for the log.
        modalities: (N,) int, 0 visible and 1 infrared; None = all visible.
        source_images: number of images of DATASETS.SOURCES, which come first; 0 without them.

    Example:
        >>> training = TrainingItems.given([("a.jpg", "shop_1", "shop_c1")], name="Shop")
        >>> (training.parts, training.domains.tolist())
        ([('Shop', 1)], [0])
    """

    items: ItemArrays
    parts: list[tuple[str, int]]
    subsets: list[str] = field(default_factory=list)
    modalities: NDArray[np.int8] | None = None
    source_images: int = 0

    @classmethod
    def given(
        cls,
        items: Iterable[AnyItem],
        name: str = "given",
        modalities: NDArray[np.int8] | None = None,
    ) -> "TrainingItems":
        """Build training images that do not come from a registered data set.

        Args:
            items: (path, pid, camid) of each image; pids and camids are all strings or all numbers.
            name: name of these images in the log.
            modalities: (N,) modality of each image, 0 visible and 1 infrared; None = all visible.
        """
        arrays = ItemArrays.of(items)
        return cls(arrays, [(name, len(arrays))], modalities=modalities)

    def chosen(self, items: ItemArrays, places: NDArray[np.integer]) -> "TrainingItems":
        """Select some images, with their modalities.

        Args:
            items: all N images, with these or other identities.
            places: positions of the chosen images.
        """
        modalities = None if self.modalities is None else self.modalities[places]
        return TrainingItems.given(items.take(places), modalities=modalities)

    @property
    def domains(self) -> NDArray[np.int16]:
        """(N,) positions of the images' data sets among the names without repetitions."""
        names = list(dict.fromkeys(name for name, _ in self.parts))
        places = np.array([names.index(name) for name, _ in self.parts], np.int16)
        return np.repeat(places, [count for _, count in self.parts])

    @property
    def source(self) -> list[str]:
        """Data set of each image."""
        return [name for name, count in self.parts for _ in range(count)]

    @property
    def is_generated(self) -> NDArray[np.bool_]:
        """(N,) bool, True for generated images."""
        kinds = np.array([name == GENERATED for name, _ in self.parts], bool)
        return np.repeat(kinds, [count for _, count in self.parts])

    def by_set(self) -> dict[str, ItemArrays]:
        """Group the images by data set."""
        ends = itertools.accumulate(count for _, count in self.parts)
        places: dict[str, list[range]] = {}
        for (name, count), end in zip(self.parts, ends, strict=True):
            places.setdefault(name, []).append(range(end - count, end))
        return {name: self.items.take(np.concatenate(own)) for name, own in places.items()}


def dataset_root(cfg: CfgNode) -> str:
    """Find the folder of the data sets: DATASETS.ROOT, FASTREID_DATASETS or ./datasets."""
    return os.path.expanduser(cfg.DATASETS.ROOT or os.getenv("FASTREID_DATASETS", "datasets"))


def training_items(cfg: CfgNode) -> TrainingItems:
    """Read the training images of all of DATASETS.SOURCES and NAMES, each set sorted by path.

    DATASETS.SUBSET cuts each set of NAMES; see :mod:`fastreid_ext.data.subsets`.

    Raises:
        FileNotFoundError: a data set does not exist; the message names the expected folder.
        ValueError: a data set has no training images, a generated set is damaged, or the list of
            DATASETS.SUBSET does not belong to the data set.
    """
    sources = list(cfg.DATASETS.SOURCES)
    whole = _without_subset(cfg)
    splits = [training_split(whole, name)[::2] for name in sources]
    source_images = sum(len(items) for items, _ in splits)
    splits += [training_split(cfg, name)[::2] for name in cfg.DATASETS.NAMES]
    names = [*sources, *cfg.DATASETS.NAMES]
    parts = [(name, len(items)) for name, (items, _) in zip(names, splits, strict=True)]
    subsets = [summary for _, summary in splits if summary]
    joined = ItemArrays.joined([items for items, _ in splits])
    modalities = _modalities(parts, joined.paths)
    return TrainingItems(joined, parts, subsets, modalities, source_images)


def _without_subset(cfg: CfgNode) -> CfgNode:
    whole = cfg.clone()
    whole.defrost()
    whole.DATASETS.SUBSET = ""
    return whole


def modalities_of(name: str, paths: Sequence[str]) -> NDArray[np.int8] | None:
    """Look up the modality of each image of a data set, 0 visible or 1 infrared.

    A data set with infrared images has a static method ``modality_of(path)``; None for others.
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
    """Read the training images of one data set, sorted by path and cut by DATASETS.SUBSET.

    Returns:
        The images, the folder that their names are relative to, and a summary of the cut for the
        log ("" without one).

    Raises:
        FileNotFoundError: the data set does not exist.
        ValueError: the data set has no training images, is damaged, or does not match the list.
    """
    items, base, lists = _training_split(cfg, name)
    if name == GENERATED:
        return items, base, ""
    kept, summary = subset_items(cfg.DATASETS.SUBSET, name, items, base, lists)
    return kept, base, summary


def write_subset_lists(
    cfg: CfgNode, name: str, settings: Iterable[SubsetSetting], output: Path | None = None
) -> Iterator[tuple[Path, bool]]:
    """Write missing list files of subsets; yield each file and whether it is new.

    Args:
        cfg: configuration with the location of the data set.
        name: registered name of the data set.
        settings: settings of the subsets to sample.
        output: folder for the lists; None = the folder that DATASETS.SUBSET reads.

    Raises:
        FileNotFoundError: the data set does not exist.
        ValueError: an existing list does not belong to this data set.
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
    """Read all training images, the folder of their relative paths and the folder of the lists."""
    dataset = open_dataset(cfg, name, combineall=cfg.DATASETS.COMBINEALL)
    with _explained(name, cfg):
        items = _sorted_items(dataset.train)
    if name == GENERATED and not len(items):
        raise ValueError(
            f"{', '.join(cfg.DATASETS.GENERATED.ROOTS)} (DATASETS.GENERATED.ROOTS) have no image "
            f"with status ok, got {dataset.statuses}; loosen the filters and run them again, "
            "or generate more images"
        )
    if cfg.DATASETS.COMBINEALL:
        items = _with_one_name_per_camera(items, dataset.dataset_name)
    if not len(items):
        raise ValueError(
            f"data set {name} below {dataset_root(cfg)} has no training images; "
            f"expected {expected_folder(name, cfg)}"
        )
    # Custom sets lie anywhere, and their lists next to them.
    base = Path(getattr(dataset, "base", dataset_root(cfg)))
    lists = base / "subsets" / getattr(dataset, "list_name", name)
    return items, base, lists


def _sorted_items(items: Sequence[tuple[Any, Any, Any]]) -> ItemArrays:
    """Sort the training items of a data set; pids and camids become strings."""
    if isinstance(items, ItemArrays):
        return items.sorted()
    return ItemArrays.of((str(path), str(pid), str(camid)) for path, pid, camid in sorted(items))


def _with_one_name_per_camera(items: ItemArrays, dataset_name: str) -> ItemArrays:
    """Rename cameras of test images as in training; fastreid's combine_all uses other names."""
    test = f"{dataset_name}_test_"
    if not any(name.startswith(test) for name in items.cam_names or ()):
        return items
    return ItemArrays.of(
        (path, pid, camid.replace(test, f"{dataset_name}_", 1)) for path, pid, camid in items
    )


def _sorted(items: Sequence[tuple[Any, Any, Any]]) -> Sequence[tuple[Any, Any, Any]]:
    return items.sorted() if isinstance(items, ItemArrays) else sorted(items)


def query_and_gallery(cfg: CfgNode, name: str) -> tuple[ItemArrays, int]:
    """Read the images of a test set, queries first, and count the queries.

    Raises:
        FileNotFoundError: the data set does not exist.
        ValueError: the data set has no queries or no gallery.
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
            f"{counts[1]} images; expected {expected_folder(name, cfg)}, or remove the set "
            "from DATASETS.TESTS"
        )
    return items, counts[0]


def open_dataset(cfg: CfgNode, name: str, **kwargs: Any) -> ImageDataset:
    """Open the data set that is registered under ``name``.

    Args:
        cfg: configuration with the location and the options of the data set.
        name: registered name of the data set.
        kwargs: further arguments of its constructor, such as ``combineall``.

    Raises:
        KeyError: the name is not registered.
        FileNotFoundError: files of the data set are missing.
        ValueError: fastreid would take identities and cameras from the name of the folder.
    """
    root = dataset_root(cfg)
    register_own_sets(cfg)
    if _is_of_host(name) and re.search(r"[-\d]_c\d", root):
        # fastreid searches the whole path for its pattern of 0001_c1s1_000001_00.jpg.
        raise ValueError(
            f"DATASETS.ROOT {root} has a part like '1_c1', which fastreid takes for identity and "
            f"camera of every image of {name}; rename the folder or use a symbolic link"
        )
    if name == GENERATED:
        generated = cfg.DATASETS.GENERATED
        kwargs |= {
            "roots": list(generated.ROOTS),
            "person_ids": generated.PERSON_IDS,
            "camera_rule": generated.CAMERA_RULE,
            "max_per_identity": generated.MAX_PER_IDENTITY,
            "max_images": generated.MAX_IMAGES,
        }
    kind = data_set_kind(cfg, name)
    if kind in _OWN:
        kwargs[_OWN[kind][0]] = _own_path(cfg, name)[0]
    with _explained(name, cfg):
        return DATASET_REGISTRY.get(name)(root=root, **kwargs)


def _own_path(cfg: CfgNode, name: str) -> tuple[str, str]:
    """Return the path of a custom data set and the key that holds it."""
    sets = own_sets(cfg)
    if name in sets:
        return sets[name].path, "DATASETS.SETS"
    key = _OWN[name][1]
    return cfg.DATASETS[key], f"DATASETS.{key}"


def expected_folder(name: str, cfg: CfgNode) -> str:
    """Describe where the files of a data set are expected."""
    if data_set_kind(cfg, name) in _OWN:
        path, key = _own_path(cfg, name)
        return f"{path} ({key}) to list some"
    cls = DATASET_REGISTRY.get(name)
    known = [base.__name__ for base in cls.__mro__ if base.__name__ in EXPECTED_FOLDERS]
    below = EXPECTED_FOLDERS[known[0]] if known else getattr(cls, "dataset_dir", "")
    return str(Path(dataset_root(cfg)) / below)


@contextmanager
def _explained(name: str, cfg: CfgNode) -> Iterator[None]:
    """Convert the errors of fastreid's classes about missing files into one clear error."""
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
    """Tell whether code of fastreid looks for the files, also if fastreid_ext subclasses it."""
    modules = {base.__module__ for base in DATASET_REGISTRY.get(name).__mro__}
    return any(
        module.startswith("fastreid.data.datasets.") and module != ImageDataset.__module__
        for module in modules
    )
