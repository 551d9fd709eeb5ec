"""Read files that list the test identities of the ten splits of a small set."""

import json
from pathlib import Path
from typing import Any

_FILES = {"PRID": "splits_single_shot.json"}
_GRID_FILE = "features_and_partitions.mat"


def listed_test(folder: Path, name: str, number: int) -> tuple[set, set] | None:
    """Read queries and gallery of a split from a ``splits.json`` as torchreid writes it.

    Args:
        folder: folder of the small set.
        name: small set: "VIPeR", "PRID", "GRID" or "iLIDS".
        number: number of the split, 0 to 9. VIPeR's file lists each split in both directions; the
            first one is used.

    Returns:
        File names (PRID: identities) of the queries and of the gallery; None without a file.

    Raises:
        ValueError: the file is damaged or has other entries.
    """
    file = folder / _FILES.get(name, "splits.json")
    if not file.is_file():
        return None
    try:
        splits = json.loads(file.read_text())
        if name == "VIPeR" and len(splits) == 20:
            splits = splits[::2]
        if len(splits) != 10:
            raise ValueError(f"{len(splits)} splits")
        split = splits[number]
        if "test" in split:
            pids = {int(pid) for pid in split["test"]}
            return pids, pids
        sides = tuple({_name(item) for item in split[side]} for side in ("query", "gallery"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: expected ten splits with query and gallery (or test), as torchreid writes "
            f"them, got: {error!r}; move the file away to use our own splits"
        ) from error
    return sides


def _name(item: Any) -> str:
    """Return the file name of ``"a.jpg"`` or ``["/somewhere/a.jpg", 1, 0]``."""
    return (item if isinstance(item, str) else item[0]).rpartition("/")[2]


def grid_partition(folder: Path, number: int) -> set[int] | None:
    """Read the training identities of one of GRID's ten official partitions; None without file.

    Raises:
        ImportError: scipy is missing.
        ValueError: the file holds something else.
    """
    file = folder / _GRID_FILE
    if not file.is_file():
        return None
    from scipy.io import loadmat

    try:
        # A cell array of ten structures whose third field lists the identities.
        cell = loadmat(file, variable_names=["trainIdxAll"])["trainIdxAll"][0][number]
        training = {int(pid) for pid in cell[0][0][2].ravel()}
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise ValueError(
            f"{file}: expected GRID's partitions (trainIdxAll), got: {error!r}; unpack it again"
        ) from error
    if len(training) != 125 or not training <= set(range(1, 251)):
        raise ValueError(
            f"{file}: expected 125 of the identities 1 to 250 for training in split {number}, got "
            f"{len(training)}; unpack it again"
        )
    return training
