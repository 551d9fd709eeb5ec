"""Pose-changed images of training images, read from generated sets: positives of stage 2 of DAPG.

Each row of a generated set (:mod:`fastreid_ext.manifest`) is a positive of some training images:

- ``DATASETS.POSITIVES.PAIRED_BY`` "image": of the images of its ``source_dataset`` that its
  ``source_images`` name. Labels are not used.
- "identity": of all training images of its identity, ``source_dataset`` and ``person_id``.

``DATASETS.POSITIVES.POSES`` keeps the rows whose condition ``pose`` it names.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.data.configured_sets import TrainingItems, dataset_root
from fastreid_ext.data.datasets.generated_persons import locate_set, registered_names
from fastreid_ext.data.decode import read_pixels
from fastreid_ext.data.generated_items import source_name
from fastreid_ext.data.item_arrays import TextArray
from fastreid_ext.manifest import Row, read_set

PAIRINGS = ("image", "identity")
POSE = "pose"  # name of the condition


class Positives:
    """Positives of each training image, as arrays.

    Example:
        >>> positives = Positives.of([["a1.jpg"], [], ["c1.jpg", "c2.jpg"]])
        >>> positives.have_some.tolist()
        [True, False, True]
        >>> positives.sample(0, np.random.default_rng(0))
        'a1.jpg'

    Args:
        paths: paths of the positives of all N images, one image after the other.
        bounds: (N + 1,) int; those of image i are ``paths[bounds[i]:bounds[i + 1]]``.
    """

    def __init__(self, paths: TextArray, bounds: NDArray[np.int64]) -> None:
        self.paths = paths
        self.bounds = bounds

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]]) -> "Positives":
        """Build the arrays from a list of paths for each training image."""
        bounds = np.cumsum([0, *map(len, lists)])
        return cls(TextArray.of(path for own in lists for path in own), bounds)

    @property
    def have_some(self) -> NDArray[np.bool_]:
        """(N,) bool, True for images with a positive."""
        return np.diff(self.bounds) > 0

    def sample(self, index: int, rng: np.random.Generator) -> str:
        """Sample the path of a positive of an image, all equally likely.

        Raises:
            IndexError: the image has none.
        """
        begin = self.bounds.item(index)
        count = self.bounds.item(index + 1) - begin
        if not count:
            raise IndexError(
                f"image {index} has no pose-changed image; sample those of `have_some` only"
            )
        return self.paths[begin + int(rng.integers(count))]

    def read(self, index: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Sample and decode a positive of an image, (H, W, 3) uint8 RGB."""
        return read_pixels(self.sample(index, rng))


def read_positives(cfg: CfgNode, training: TrainingItems) -> Positives:
    """Read the positives of all training images from ``DATASETS.POSITIVES.ROOTS``.

    Raises:
        FileNotFoundError: a folder holds no generated set.
        ValueError: no training image has a positive; the message names poses or sources found.
    """
    keys = cfg.DATASETS.POSITIVES
    root = dataset_root(cfg)
    rows = [row for folder in keys.ROOTS for row in read_set(locate_set(folder, root))[1]]
    usable = [row for row in rows if row.image.status == "ok"]
    kept = [row for row in usable if not keys.POSES or row.image.conditions.get(POSE) in keys.POSES]
    by_image = keys.PAIRED_BY == "image"
    lists = (_by_image if by_image else _by_identity)(kept, training)
    if not any(lists):
        raise ValueError(_nothing_found(cfg, usable, kept, training))
    return Positives.of(lists)


def _by_image(rows: Iterable[Row], training: TrainingItems) -> list[list[str]]:
    """List the positives of each image by the end of its path, as long as the row names it."""
    paths: dict[tuple[str, str], list[str]] = defaultdict(list)
    lengths: set[int] = set()
    for row in rows:
        for source in row.image.source_images:
            paths[row.image.source_dataset, source].append(str(row.path))
            lengths.add(source.count("/") + 1)
    found = []
    for name, path in zip(training.source, training.items.paths, strict=True):
        parts = path.split("/")
        ends = ("/".join(parts[-length:]) for length in sorted(lengths))
        found.append([one for end in ends for one in paths.get((name, end), ())])
    return found


def _by_identity(rows: Iterable[Row], training: TrainingItems) -> list[list[str]]:
    names: Mapping[str, str] = registered_names()
    paths: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        name = source_name(row, names, "POSITIVES.PAIRED_BY identity")
        paths[f"{name}_{row.image.person_id}"].append(str(row.path))
    return [paths.get(str(pid), []) for _, pid, _ in training.items]


def _nothing_found(
    cfg: CfgNode, usable: Sequence[Row], kept: Sequence[Row], training: TrainingItems
) -> str:
    keys = cfg.DATASETS.POSITIVES
    start = (
        f"none of the {len(training.items)} training images has a pose-changed image in "
        f"{', '.join(keys.ROOTS)} (DATASETS.POSITIVES.ROOTS)"
    )
    if not usable:
        return f"{start}: no image there has status ok; loosen the filters of the generator"
    if not kept:
        poses = sorted({str(row.image.conditions.get(POSE, "(none)")) for row in usable})
        return (
            f"{start}: DATASETS.POSITIVES.POSES is {list(keys.POSES)} but the poses there are "
            f"{', '.join(poses[:10])}; name some of them, or [] for all"
        )
    sets = sorted({row.image.source_dataset or "(none)" for row in kept})
    return (
        f"{start}, which were made from {', '.join(sets)}, by {keys.PAIRED_BY}; train on those "
        "data sets, or set DATASETS.POSITIVES.PAIRED_BY to "
        f"{PAIRINGS[1 - PAIRINGS.index(keys.PAIRED_BY)]}"
    )
