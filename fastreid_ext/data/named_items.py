"""Find items by name: the path below the folder of the set, which is equal on every machine."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, pairwise
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.item_arrays import AnyItem, ItemArrays, TextArray


class NamedItems(Mapping[str, AnyItem]):
    """Mapping of names to items, in the order of the sorted names, without an object per image.

    Args:
        names: sorted names of the N images, without repetitions.
        items: (path, pid, camid) of each name.
    """

    def __init__(self, names: Sequence[str], items: ItemArrays) -> None:
        self.names = names
        self.arrays = items

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        """Yield the sorted names."""
        return iter(self.names)

    def __getitem__(self, name: str) -> AnyItem:
        """Return the item of a name."""
        place = self.place(name)
        if place < 0:
            raise KeyError(name)
        return self.arrays[place]

    def items(self) -> Iterator[tuple[str, AnyItem]]:  # type: ignore[override]
        """Yield each name with its item."""
        return zip(self.names, self.arrays, strict=True)

    def values(self) -> Iterator[AnyItem]:  # type: ignore[override]
        """Yield the items in the order of their names."""
        return iter(self.arrays)

    def names_at(self, places: NDArray[np.integer]) -> Iterator[str]:
        """Yield the names at some positions, in ascending order."""
        is_wanted = np.zeros(len(self), np.uint8)
        is_wanted[places] = 1
        return compress(self.names, is_wanted.tobytes())

    def places(self, wanted: Iterable[str]) -> Iterator[int]:
        """Yield the position of each wanted name, -1 for an unknown one.

        Args:
            wanted: names to look up; sorted ones are found in one pass through all names.
        """
        names = enumerate(self.names)
        place, name = next(names, (-1, None))
        last = ""
        for text in wanted:
            if text < last:
                yield self.place(text)
                continue
            last = text
            while name is not None and name < text:
                place, name = next(names, (-1, None))
            yield place if name == text else -1

    def place(self, name: str) -> int:
        """Find the position of a name among the sorted names; -1 for an unknown one."""
        place = bisect_left(self.names, name)
        return place if place < len(self.names) and self.names[place] == name else -1

    def pid_texts(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the identity of each image."""
        pids = self.arrays.pid_names
        last = -1
        pid = ""
        for name, code in zip(self.names, self.arrays.pids, strict=True):
            if code != last:  # images of an identity mostly follow each other
                last = code
                pid = pids[code]
            yield name, pid


class _Ends(Sequence[str]):
    """Strings of an array without their first bytes, which are the same in all of them."""

    def __init__(self, texts: TextArray, skip: int) -> None:
        self._texts = texts
        self._skip = skip

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "_Ends": ...
    def __getitem__(self, index: int | slice) -> "str | _Ends":
        if isinstance(index, slice):
            return _Ends(self._texts[index], self._skip)
        return self._texts[index][self._skip :]

    def __iter__(self) -> Iterator[str]:
        return self._texts.tails(self._skip)


def named_items(items: Iterable[AnyItem], base: Path) -> NamedItems:
    """Name items by their paths relative to ``base`` (absolute outside of it) and sort them.

    Of images with the same path the last one counts.

    Args:
        items: (path, pid, camid) of each image; pids and camids are all strings or all numbers.
        base: folder that the names are relative to.
    """
    arrays = ItemArrays.of(items)
    start = os.path.abspath(base) + os.sep
    names = _names(arrays.paths, start)
    if all(first < second for first, second in pairwise(names)):
        return NamedItems(names, arrays)
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    is_last = [names[first] != names[second] for first, second in pairwise(order)]
    order = order[np.array([*is_last, True], bool)]
    return NamedItems(TextArray.of(names[place] for place in order), arrays.take(order))


def _names(paths: TextArray, start: str) -> Sequence[str]:
    """Return paths relative to ``start``; without a copy if all lose the same prefix."""
    skip = None
    for path in paths:
        name = _name(path, start)
        own = len(path) - len(name)
        if not path.endswith(name) or own != (own if skip is None else skip):
            return TextArray.of(_name(path, start) for path in paths)
        skip = own
    return _Ends(paths, skip or 0)


def _name(path: str, start: str) -> str:
    # Three times as fast for most paths, in which abspath finds nothing to do.
    is_plain = path.startswith(start) and not ("//" in path or "/." in path or path[-1] == "/")
    return path[len(start) :] if is_plain else os.path.abspath(path).removeprefix(start)
