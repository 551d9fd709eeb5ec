"""Corruption index of a test set: the corruption of each image, fixed so that all labs agree.

An index lists for each image of a test set and each *repeat* one corruption, its severity and the
seed of its random numbers. The protocol is that of CIL [0]: uniform over corruptions and over
severities 1-5, ten repeats. For the *grid* (every corruption at every severity on all images) it
lists one seed per image, shared by all cells, so that cells differ by the corruption and not by
chance.

The corruption of an image in a repeat is computed from a hash of (seed of the index, data set, path
relative to the data sets' folder, number of the repeat). It does not depend on other images, on the
machine, or on the location of the data. Pixels are those of
``corrupt(image, name, severity, RandomState(seed), reference=True)``, see
:mod:`.corrupted_images`; the file is that of :mod:`.index_file`.

Letters: N images, K repeats.

[0] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES
from fastreid_ext.corruptions.cpu.corrupt import SEVERITIES
from fastreid_ext.corruptions.record import Corruption
from fastreid_ext.evaluation.corruption.image_fingerprints import fingerprints

Side = Literal["query", "gallery", "both"]
SIDES: tuple[Side, ...] = get_args(Side)


@dataclasses.dataclass(frozen=True)
class CorruptionIndex:
    """The corruption of every image of a test set in every repeat.

    Attributes:
        data_set: registered name of the test set.
        side: corrupted images: "query", "gallery" or "both".
        seed: seed from which corruptions, severities and seeds are computed.
        corruptions: names of the corruptions to sample from.
        names: N sorted paths relative to the data sets' folder.
        fingerprints: N hashes of the image files, see :mod:`.image_fingerprints`.
        types: (N, K) positions of the sampled names in ``corruptions``.
        severities: (N, K) severities from 1 to 5.
        seeds: (N, K) random seeds of the repeats, below 2**32.
        grid_seeds: (N,) random seeds of the grid, below 2**32.
    """

    data_set: str
    side: Side
    seed: int
    corruptions: tuple[str, ...]
    names: tuple[str, ...]
    fingerprints: tuple[str, ...]
    types: NDArray[np.uint8]
    severities: NDArray[np.uint8]
    seeds: NDArray[np.uint32]
    grid_seeds: NDArray[np.uint32]

    @property
    def repeats(self) -> int:
        """Number K of repeats."""
        return self.types.shape[1]

    @functools.cached_property
    def row_of(self) -> dict[str, int]:
        """Map the name of each image to its row."""
        return {name: row for row, name in enumerate(self.names)}

    def in_repeat(self, row: int, repeat: int) -> Corruption:
        """Look up the corruption of the image ``row`` in a repeat."""
        name = self.corruptions[self.types[row, repeat]]
        return Corruption(name, int(self.severities[row, repeat]), int(self.seeds[row, repeat]))

    def in_grid(self, row: int, corruption: str, severity: int) -> Corruption:
        """Combine a corruption of the grid with the grid seed of the image ``row``."""
        return Corruption(corruption, severity, int(self.grid_seeds[row]))

    def rows(self) -> Iterator[str]:
        """Yield the line of the index file for each image, as JSON."""
        for row, (name, fingerprint) in enumerate(zip(self.names, self.fingerprints, strict=True)):
            yield json.dumps(
                {
                    "image": name,
                    "fingerprint": fingerprint,
                    "repeats": [str(self.in_repeat(row, repeat)) for repeat in range(self.repeats)],
                    "grid_seed": int(self.grid_seeds[row]),
                },
                separators=(",", ":"),
            )

    @functools.cached_property
    def rows_sha256(self) -> str:
        """Hash all lines; tables name the index by this hash."""
        return _hash(self.rows())

    @functools.cached_property
    def images_sha256(self) -> str:
        """Hash the names and fingerprints of all images."""
        return _hash(map("\t".join, zip(self.names, self.fingerprints, strict=True)))

    def expect(self, data_set: str, side: Side, repeats: int) -> None:
        """Check that the index has this set, side and number of repeats; else raise ValueError."""
        if self.data_set != data_set:
            raise ValueError(
                f"expected a -C index of {data_set}, got one of {self.data_set}; give the index "
                "of this data set, or the name of a new file to make one"
            )
        if self.side not in (side, "both"):
            raise ValueError(
                f"expected a -C index with images of side '{side}', got side '{self.side}'; make "
                "one with --corrupt both, it serves all three"
            )
        if not 1 <= repeats <= self.repeats:
            raise ValueError(
                f"expected 1 to {self.repeats} repeats, which the -C index has, got {repeats}; "
                "make an index with more"
            )

    def expect_images(self, files: Mapping[str, str]) -> None:
        """Check that files are the indexed images; else raise ValueError naming the first.

        Args:
            files: path of each image file, by name.
        """
        known = dict(zip(self.names, self.fingerprints, strict=True))
        missing = sorted(set(known) - set(files))
        extra = sorted(set(files) - set(known))
        if missing or extra:
            difference = "lacks {} of" if missing else "has {} more than"
            raise ValueError(
                f"the -C index does not match the data set: {self.data_set} here "
                f"{difference.format(len(missing or extra))} the {len(known)} images that the "
                f"index lists, the first is {(missing or extra)[0]}; restore the data set, or make "
                "an index for this one"
            )
        now = fingerprints(files)
        changed = [name for name in self.names if now[name] != known[name]]
        if changed:
            raise ValueError(
                f"the -C index does not match the data set: {len(changed)} of the {len(known)} "
                f"images of {self.data_set} are others than when the index was made, the first is "
                f"{changed[0]}; restore the data set, or make an index for this one"
            )


def sample_corruption(
    seed: int, data_set: str, name: str, repeat: int, corruptions: Sequence[str] = CORRUPTION_NAMES
) -> Corruption:
    """Sample the corruption of an image in a repeat, uniform over corruptions and severities.

    Example:
        >>> str(sample_corruption(0, "Market1501", "query/0001_c1s1_001051_00.jpg", 0))
        'defocus_blur:4:3306906270'
    """
    digest = _digest(seed, data_set, name, repeat)
    # 64 bits for a choice of few: the remainder is uniform to 1 in 10**18.
    kind = int.from_bytes(digest[:8], "big")
    severity = int.from_bytes(digest[8:16], "big")
    return Corruption(
        corruptions[kind % len(corruptions)],
        SEVERITIES[severity % len(SEVERITIES)],
        int.from_bytes(digest[16:20], "big"),
    )


def sample_index(
    data_set: str,
    files: Mapping[str, str],
    *,
    side: Side = "both",
    repeats: int = 10,
    seed: int = 0,
    corruptions: Sequence[str] = CORRUPTION_NAMES,
) -> CorruptionIndex:
    """Sample a corruption index for the images of one side of a test set.

    Args:
        data_set: registered name of the test set.
        files: path of each image file, by name.
        side: side of the test set that ``files`` belong to.
        repeats: number K of repeats, at least 1.
        seed: seed of the index, at least 0.
        corruptions: names of the corruptions to sample from.

    Raises:
        ValueError: no images, repeats or corruptions, an unknown side or corruption.
        OSError: an image cannot be read.
    """
    unknown = sorted(set(corruptions) - set(CORRUPTION_NAMES))
    if not files or repeats < 1 or seed < 0 or side not in SIDES or unknown or not corruptions:
        raise ValueError(
            f"expected images, repeats >= 1, seed >= 0, a side of {', '.join(SIDES)} and known "
            f"corruptions, got {len(files)} images, {repeats} repeats, seed {seed}, "
            f"side '{side}', {len(corruptions)} corruptions, of which unknown: "
            f"{', '.join(unknown) or 'none'}"
        )
    names = sorted(files)
    prints = fingerprints(files)
    sampled = (
        [sample_corruption(seed, data_set, name, repeat, corruptions) for repeat in range(repeats)]
        for name in names
    )
    return CorruptionIndex(
        data_set=data_set,
        side=side,
        seed=seed,
        corruptions=tuple(corruptions),
        names=tuple(names),
        fingerprints=tuple(prints[name] for name in names),
        grid_seeds=np.array([_grid_seed(seed, data_set, name) for name in names], np.uint32),
        **corruption_arrays(sampled, (len(names), repeats), corruptions),
    )


def corruption_arrays(
    sampled: Iterable[Sequence[Corruption]], shape: tuple[int, int], corruptions: Sequence[str]
) -> dict[str, NDArray]:
    """Pack corruptions in the arrays ``types``, ``severities`` and ``seeds`` of an index.

    Args:
        sampled: the K corruptions of each image.
        shape: shape (N, K) of the arrays.
        corruptions: names that ``types`` are positions in.

    Raises:
        ValueError, IndexError, KeyError: there are more or fewer corruptions, or unknown names.
    """
    position = {name: i for i, name in enumerate(corruptions)}
    types = np.zeros(shape, np.uint8)
    severities = np.zeros(shape, np.uint8)
    seeds = np.zeros(shape, np.uint32)
    for row, chosen in enumerate(sampled):
        types[row] = [position[corruption.name] for corruption in chosen]
        severities[row] = [corruption.severity for corruption in chosen]
        seeds[row] = [corruption.seed for corruption in chosen]
    return {"types": types, "severities": severities, "seeds": seeds}


def _grid_seed(seed: int, data_set: str, name: str) -> int:
    return int.from_bytes(_digest(seed, data_set, name, "grid")[16:20], "big")


def _digest(*key: str | int) -> bytes:
    return hashlib.sha256("\n".join(map(str, key)).encode()).digest()


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
