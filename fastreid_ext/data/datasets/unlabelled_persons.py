"""Data set of images without labels, for self-supervised pre-training."""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from numpy.typing import NDArray

from fastreid_ext.data.datasets.generated_persons import locate_set
from fastreid_ext.data.image_files import SUFFIXES, images_below, is_image_name
from fastreid_ext.data.item_arrays import ItemArrays
from fastreid_ext.data.text_lines import text_rows


@DATASET_REGISTRY.register()
class UnlabelledPersons(ImageDataset):
    """Images below ``DATASETS.FOLDER``, each an identity of its own; for training only.

    All folders below it are searched except hidden ones; see :mod:`fastreid_ext.data.image_files`.
    A text file (.txt) may stand in for the folder: each line holds the path of an image, absolute
    or relative to the folder of the file.

    Args:
        root: folder in which a relative ``folder`` is looked for if the working directory has none.
        folder: path of the folder or text file, ``DATASETS.FOLDER``.
    """

    dataset_dir = ""
    dataset_name = "unlabelledpersons"
    key = "DATASETS.FOLDER"  # configuration key that holds the path

    def __init__(self, root: str = "datasets", *, folder: str = "", **kwargs: Any) -> None:
        if not folder:
            raise ValueError(
                f"{self.key} is empty, so UnlabelledPersons has no images; give a folder, or a "
                ".txt file with the path of an image in each line"
            )
        path = Path(os.path.abspath(locate_set(folder, root)))
        is_list = path.suffix == ".txt"
        if not (path.is_file() if is_list else path.is_dir()):
            what = "list" if is_list else "folder"
            raise FileNotFoundError(
                f"no {what} at {path} ({self.key} of UnlabelledPersons); give an existing one"
            )
        self.base = path.parent if is_list else path
        self.list_name = path.stem
        super().__init__(lambda: self._items(path, is_list), [], [], **kwargs)

    def _items(self, path: Path, is_list: bool) -> ItemArrays:
        files = _listed(path) if is_list else images_below(path)
        name = self.dataset_name
        items = ItemArrays.numbered(files, f"{name}_", f"{name}_0")
        if not len(items):
            raise FileNotFoundError(
                f"expected images ({', '.join(SUFFIXES)}) below {path} ({self.key}), got "
                "none; is it the right folder, and are its archives unpacked?"
            )
        return items


def _listed(file: Path) -> Iterator[str]:
    """Yield the image paths that a file lists, in its order; 8 bytes of each are kept."""
    folder = str(file.parent)
    hashes = array("q")
    for number, name in _lines(file):
        if not is_image_name(name):
            raise ValueError(
                f"{file}:{number}: expected the path of an image ({', '.join(SUFFIXES)}), got "
                f"'{name}'; give the path alone, without labels after it"
            )
        hashes.append(hash(name))
        yield os.path.join(folder, name) if _is_plain(name) else str(file.parent / name)
    if not hashes:
        raise ValueError(f"{file}: expected the path of an image in each line, got an empty file")
    _refuse_repeated(file, np.frombuffer(hashes, np.int64))


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not empty."""
    for number, line in enumerate(text_rows(file), 1):
        name = line.strip()
        if name:
            yield number, name


def _is_plain(name: str) -> bool:
    """Tell whether joining a name to a folder leaves nothing for Path to tidy up."""
    return not ("//" in name or "/." in name or name.startswith("."))


def _refuse_repeated(file: Path, hashes: NDArray[np.int64]) -> None:
    """Raise ValueError if a line repeats another one; only lines of equal hashes are compared."""
    ordered = np.sort(hashes)
    suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not suspects:
        return
    numbers: dict[str, int] = {}
    for number, name in _lines(file):
        if hash(name) not in suspects:
            continue
        if name in numbers:
            raise ValueError(
                f"{file}:{number}: '{name}' is already in line {numbers[name]}; remove one of them"
            )
        numbers[name] = number
