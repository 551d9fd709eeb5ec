"""Hold the items of a data set in arrays: a few buffers, not several Python objects per image.

A list of (path, pid, camid) tuples takes 0.3 GB per million images, and every loader worker gets a
copy of it during an epoch: reference counts and garbage collection write to the objects, and
written pages are no longer shared between processes. Arrays take a third of that and are never
written to, so forked workers share them. ``tools/benchmarks/scale.py`` measures both.
"""

import operator
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.identity_numbers import UNKNOWN, number_problem

# (image path, pid, camid). Training: strings "<data set>_<id>". Test: ints.
AnyItem = tuple[str, str, str] | tuple[str, int, int]

_CHUNK = 4096  # strings that are decoded together


class TextArray(Sequence[str]):
    """Read-only strings in one UTF-8 buffer; file names that are not UTF-8 keep their bytes.

    Args:
        data: (bytes,) UTF-8 of all strings, one after the other.
        bounds: (N + 1,) positions in ``data``; string i is ``data[bounds[i]:bounds[i + 1]]``.

    Example:
        >>> texts = TextArray.of(["a.jpg", "b.jpg"])
        >>> (texts[1], len(texts), texts.bounds.tolist())
        ('b.jpg', 2, [0, 5, 10])
    """

    def __init__(self, data: NDArray[np.uint8], bounds: NDArray[np.int64]) -> None:
        self.data = data
        self.bounds = bounds

    @classmethod
    def of(cls, texts: Iterable[str]) -> "TextArray":
        """Build an array from strings; only one of them exists as an object at a time."""
        if isinstance(texts, cls):
            return texts
        data = bytearray()
        bounds = array("q", [0])
        for text in texts:
            data += text.encode("utf-8", "surrogateescape")
            bounds.append(len(data))
        buffer = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        buffer.flags.writeable = False
        return cls(buffer, np.frombuffer(bounds, np.int64))

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "TextArray": ...
    def __getitem__(self, index: int | slice) -> "str | TextArray":
        """Return a string, or the strings of a slice (without a copy if its step is 1)."""
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step != 1:
                return self.take(range(begin, end, step))
            return TextArray(self.data, self.bounds[begin : max(begin, end) + 1])
        count = len(self.bounds) - 1
        # Loaders call this for each image, so the usual index passes no further check.
        place = index if 0 <= index < count else _checked(index, count)
        text = self.data[self.bounds.item(place) : self.bounds.item(place + 1)]
        return str(text, "utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        """Yield the strings in their order."""
        return self.tails(0)

    def tails(self, skip: int) -> Iterator[str]:
        """Yield the strings in their order without their first ``skip`` characters."""
        data = memoryview(self.data)
        for first in range(0, len(self), _CHUNK):
            bounds = self.bounds[first : first + _CHUNK + 1].tolist()
            start = bounds[0]
            text = str(data[start : bounds[-1]], "utf-8", "surrogateescape")
            if text.isascii():  # decoding them together takes a third of the time
                for begin, end in pairwise(bounds):
                    yield text[begin - start + skip : end - start]
            else:
                for begin, end in pairwise(bounds):
                    yield str(data[begin:end], "utf-8", "surrogateescape")[skip:]

    def __eq__(self, other: object) -> bool:
        """Compare with any sequence of strings."""
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, places: Sequence[int] | NDArray[np.integer]) -> "TextArray":
        """Copy the strings at some positions."""
        places = np.asarray(places, np.int64)
        bounds = np.zeros(len(places) + 1, np.int64)
        np.cumsum(self.bounds[places + 1] - self.bounds[places], out=bounds[1:])
        data = np.empty(bounds[-1], np.uint8)
        for first in range(0, len(places), _CHUNK):
            own = bounds[first : first + _CHUNK + 1]
            shifts = self.bounds[places[first : first + _CHUNK]] - own[:-1]
            data[own[0] : own[-1]] = self.data[
                np.repeat(shifts, np.diff(own)) + np.arange(own[0], own[-1])
            ]
        data.flags.writeable = False
        return TextArray(data, bounds)


class NumberedNames(Sequence[str]):
    """Names ``<prefix><number>`` in sorted order (10 before 2), without a string for each.

    Args:
        prefix: common prefix of all names.
        numbers: (N,) numbers >= 0 without repetitions.
    """

    def __init__(self, prefix: str, numbers: NDArray[np.integer]) -> None:
        self.prefix = prefix
        self.numbers = numbers[_as_texts_sorted(numbers)].astype(np.int32)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "NumberedNames": ...
    def __getitem__(self, index: int | slice) -> "str | NumberedNames":
        """Return a name, or the names of a slice."""
        if isinstance(index, slice):
            return NumberedNames(self.prefix, self.numbers[index])
        return f"{self.prefix}{self.numbers[_checked(index, len(self))]}"

    def __iter__(self) -> Iterator[str]:
        """Yield the names in sorted order."""
        return (f"{self.prefix}{number}" for number in self.numbers)

    def __eq__(self, other: object) -> bool:
        """Compare with any sequence of strings."""
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, places: NDArray[np.integer]) -> "NumberedNames":
        """Select the names at some positions."""
        return NumberedNames(self.prefix, self.numbers[places])


class ItemArrays(Sequence[AnyItem]):
    """Sequence of (path, pid, camid) that is stored as arrays.

    Args:
        paths: paths of the N images.
        pids: (N,) int; positions in ``pid_names``, or numbers of identities if there are no names.
        camids: (N,) int; positions in ``cam_names``, or numbers of cameras if there are no names.
        pid_names: sorted names of identities, each used by an image.
        cam_names: sorted names of cameras, each used by an image.

    Example:
        >>> arrays = ItemArrays.of([("a.jpg", "set_7", "c1"), ("b.jpg", "set_3", "c1")])
        >>> (arrays[0], arrays.pids.tolist(), list(arrays.pid_names))
        (('a.jpg', 'set_7', 'c1'), [1, 0], ['set_3', 'set_7'])
    """

    def __init__(
        self,
        paths: TextArray,
        pids: NDArray[np.integer],
        camids: NDArray[np.integer],
        pid_names: TextArray | NumberedNames | None = None,
        cam_names: TextArray | NumberedNames | None = None,
    ) -> None:
        self.paths = paths
        self.pids = pids
        self.camids = camids
        self.pid_names = pid_names
        self.cam_names = cam_names

    @classmethod
    def of(cls, items: Iterable[AnyItem]) -> "ItemArrays":
        """Build the arrays from items.

        Args:
            items: tuples (path, pid, camid) whose pids and camids are all strings or all numbers.

        Raises:
            ValueError: a number is below -1 or beyond int64; the message begins with the path.
        """
        if isinstance(items, cls):
            return items
        pids = _Column("pid")
        camids = _Column("camid")

        def paths() -> Iterator[str]:
            for path, pid, camid in items:
                pids.append(pid, path)
                camids.append(camid, path)
                yield path

        texts = TextArray.of(paths())
        return cls(texts, *_columns(pids, camids))

    @classmethod
    def numbered(cls, paths: Iterable[str], prefix: str, cam_name: str) -> "ItemArrays":
        """Build arrays of one camera in which image i is the identity ``<prefix>i``."""
        texts = TextArray.of(paths)
        count = len(texts)
        names = NumberedNames(prefix, np.arange(count))
        pids = np.empty(count, np.int32)
        pids[names.numbers] = np.arange(count, dtype=np.int32)
        cameras = TextArray.of([cam_name] if count else [])
        return cls(texts, pids, np.zeros(count, np.int32), names, cameras)

    @classmethod
    def joined(cls, parts: Sequence["ItemArrays"]) -> "ItemArrays":
        """Concatenate the items of several lists."""
        if len(parts) == 1:
            return parts[0]
        return cls.of(item for part in parts for item in part)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> AnyItem: ...
    @overload
    def __getitem__(self, index: slice) -> "ItemArrays": ...
    def __getitem__(self, index: int | slice) -> "AnyItem | ItemArrays":
        """Return (path, pid, camid) of an image, or the items of a slice."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        place = _checked(index, len(self))
        pid = _value(self.pids[place], self.pid_names)
        return self.paths[place], pid, _value(self.camids[place], self.cam_names)

    def __iter__(self) -> Iterator[AnyItem]:
        """Yield (path, pid, camid) of each image; names of cameras are decoded once."""
        cameras = None if self.cam_names is None else list(self.cam_names)
        for place, path in enumerate(self.paths):
            pid = _value(self.pids[place], self.pid_names)
            yield path, pid, _value(self.camids[place], cameras)

    def __eq__(self, other: object) -> bool:
        """Compare with any sequence of items."""
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def with_pids(self, pids: NDArray[np.integer]) -> "ItemArrays":
        """Replace the identities by (N,) numbers; paths and cameras stay."""
        return ItemArrays(self.paths, np.asarray(pids), self.camids, None, self.cam_names)

    def dense_pids(self) -> tuple[NDArray[np.integer], Sequence[str] | NDArray[np.integer]]:
        """Return the class of each image, counted from 0, and the sorted names of the classes."""
        return _dense(self.pids, self.pid_names)

    def dense_camids(self) -> tuple[NDArray[np.integer], Sequence[str] | NDArray[np.integer]]:
        """Return the camera of each image, counted from 0, and the sorted names of the cameras."""
        return _dense(self.camids, self.cam_names)

    def take(self, places: Sequence[int] | NDArray[np.integer]) -> "ItemArrays":
        """Select the items at some positions; names without images are dropped."""
        places = np.asarray(places, np.int64)
        first = int(places[0]) if len(places) else 0
        is_run = bool((np.diff(places) == 1).all())
        # Paths are taken last because they need most of the memory.
        pids, pid_names = _compact(self.pids[places], self.pid_names)
        camids, cam_names = _compact(self.camids[places], self.cam_names)
        paths = self.paths[first : first + len(places)] if is_run else self.paths.take(places)
        return ItemArrays(paths, pids, camids, pid_names, cam_names)

    def sorted(self) -> "ItemArrays":
        """Sort the items by path; those of equal paths by identity and camera."""
        if all(first < second for first, second in pairwise(self.paths)):
            return self
        return self.take(sorted(range(len(self)), key=self.__getitem__))


class _Column:
    """Names or numbers as codes in the order of their arrival."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._codes = array("q")
        self._names: dict[str, int] = {}
        self._has_numbers = False

    def append(self, value: Any, path: str) -> None:
        if isinstance(value, str):
            value = self._names.setdefault(value, len(self._names))
        else:
            self._has_numbers = True
            problem = number_problem(value, self._what, lowest=UNKNOWN)
            if problem:
                raise ValueError(f"{path}: expected {problem}; give numbers in this range")
        self._codes.append(int(value))

    def sorted(self) -> tuple[NDArray[np.integer], TextArray | None]:
        """Return numbers unchanged, or positions in the sorted names with these names."""
        codes = np.array(self._codes, np.int64)
        if self._names and self._has_numbers:
            raise TypeError(
                "expected pids (and camids) that are all strings or all numbers, got both; give "
                "strings '<data set>_<id>' for training and numbers for a test"
            )
        if not self._names:
            return codes, None
        names = sorted(self._names)
        rank = np.empty(len(names), np.int32)
        rank[[self._names[name] for name in names]] = np.arange(len(names), dtype=np.int32)
        return rank[codes], TextArray.of(names)


def _columns(pids: _Column, camids: _Column) -> tuple[Any, Any, Any, Any]:
    pid_codes, pid_names = pids.sorted()
    cam_codes, cam_names = camids.sorted()
    return pid_codes, cam_codes, pid_names, cam_names


def _compact(
    codes: NDArray[np.integer], names: TextArray | NumberedNames | None
) -> tuple[NDArray[np.integer], TextArray | NumberedNames | None]:
    if names is None:
        return codes, None
    is_used = np.zeros(len(names), bool)
    is_used[codes] = True
    if is_used.all():
        return codes, names
    places = np.cumsum(is_used, dtype=np.int32) - np.int32(1)
    return places[codes], names.take(np.flatnonzero(is_used))


def _dense(
    codes: NDArray[np.integer], names: TextArray | NumberedNames | None
) -> tuple[NDArray[np.integer], Sequence[str] | NDArray[np.integer]]:
    if names is not None:
        return codes, names
    numbers, places = np.unique(codes, return_inverse=True)
    return places.astype(np.int32), numbers


def _value(code: np.integer, names: Sequence[str] | None) -> int | str:
    return int(code) if names is None else names[code]


def _checked(index: int, length: int) -> int:
    place = operator.index(index)
    if not -length <= place < length:
        raise IndexError(f"expected an index below {length}, got {place}")
    return place % length


def _as_texts_sorted(numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """Compute the order of numbers >= 0 when they are compared as decimal strings."""
    numbers = np.asarray(numbers, np.int64)
    digits = np.ones(len(numbers), np.int64)
    for power in range(1, 19):
        digits += numbers >= 10**power
    padded = numbers * 10 ** (digits.max(initial=1) - digits)
    return np.lexsort((digits, padded))


def _equal(ours: Sequence[Any], other: object) -> bool:
    if not isinstance(other, Sequence) or isinstance(other, str):
        return NotImplemented
    return len(ours) == len(other) and all(
        mine == yours for mine, yours in zip(ours, other, strict=True)
    )
