"""Read which persons the ten splits of a small set test, where a file says so."""

import json
from pathlib import Path
from typing import Any

_FILES = {"PRID": "splits_single_shot.json"}
_GRID_FILE = "features_and_partitions.mat"


def listed_test(folder: Path, name: str, number: int) -> tuple[set, set] | None:
    """Return what a ``splits.json`` of torchreid's kind lists as queries and as gallery.

    Args:
        folder: of the set; no file there: None.
        name: "VIPeR", "PRID", "GRID" or "iLIDS".
        number: of the split, 0 to 9. VIPeR's file has both directions of each; the first counts.

    Returns:
        File names (PRID: numbers of persons) of the queries and of the gallery.

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
            persons = {int(pid) for pid in split["test"]}
            return persons, persons
        sides = tuple({_name(item) for item in split[side]} for side in ("query", "gallery"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: expected ten splits with query and gallery (or test), as torchreid writes "
            f"them, got: {error!r}; move the file away to use our own splits"
        ) from error
    return sides


def _name(item: Any) -> str:
    """``"a.jpg"`` or ``["/somewhere/a.jpg", 1, 0]`` as "a.jpg"."""
    return (item if isinstance(item, str) else item[0]).rpartition("/")[2]


def grid_partition(folder: Path, number: int) -> set[int] | None:
    """Return the training persons of one of GRID's ten official partitions; None without the file.

    Raises:
        ImportError: scipy is missing.
        ValueError: the file holds something else.
    """
    file = folder / _GRID_FILE
    if not file.is_file():
        return None
    from scipy.io import loadmat

    try:
        # A cell array of ten structures whose third field lists the persons.
        cell = loadmat(file, variable_names=["trainIdxAll"])["trainIdxAll"][0][number]
        training = {int(person) for person in cell[0][0][2].ravel()}
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise ValueError(
            f"{file}: expected GRID's partitions (trainIdxAll), got: {error!r}; unpack it again"
        ) from error
    if len(training) != 125 or not training <= set(range(1, 251)):
        raise ValueError(
            f"{file}: expected 125 of the persons 1 to 250 for training in split {number}, got "
            f"{len(training)}; unpack it again"
        )
    return training
