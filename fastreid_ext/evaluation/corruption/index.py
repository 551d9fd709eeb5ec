"""Which corruption each test image gets: drawn once, so that all labs test the same pixels.

An index says for each image of a test set and each *draw* one corruption, its severity and the seed
of its random numbers: the protocol of CIL [0], uniform over the types and over severities 1-5, ten
draws. For the *grid* (every corruption at every severity on all images) it says one seed per image,
shared by all cells, so that cells differ by the corruption and not by chance.

A draw is a hash of (seed of the index, data set, path below the data sets' folder, draw). It does
not depend on other images, on the machine, or on where the data lie. Pixels are those of
``corrupt(image, name, severity, RandomState(seed), reference=True)``, see
:mod:`.corrupted_images`; the file is that of :mod:`.index_file`.

Letters: N images, K draws.

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
    """The corruption of every image of a test set in every draw.

    Attributes:
        data_set: registered name.
        side: which images are corrupted.
        seed: what all else is drawn from.
        corruptions: names that were drawn from.
        names: N paths below the data sets' folder, sorted.
        fingerprints: N hashes, see ``data.image_fingerprints``.
        types: (N, K) positions in ``corruptions``.
        severities: (N, K) from 1 to 5.
        seeds: (N, K) for the draws.
        grid_seeds: (N,) for the grid.
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
    def draws(self) -> int:
        """K."""
        return self.types.shape[1]

    @functools.cached_property
    def row_of(self) -> dict[str, int]:
        """Return the row of each name."""
        return {name: row for row, name in enumerate(self.names)}

    def drawn(self, row: int, draw: int) -> Corruption:
        """Return the corruption of an image in a draw."""
        name = self.corruptions[self.types[row, draw]]
        return Corruption(name, int(self.severities[row, draw]), int(self.seeds[row, draw]))

    def in_grid(self, row: int, corruption: str, severity: int) -> Corruption:
        """Return a corruption of the grid with the seed of an image."""
        return Corruption(corruption, severity, int(self.grid_seeds[row]))

    def rows(self) -> Iterator[str]:
        """Yield the line of each image."""
        for row, (name, fingerprint) in enumerate(zip(self.names, self.fingerprints, strict=True)):
            yield json.dumps(
                {
                    "image": name,
                    "fingerprint": fingerprint,
                    "draws": [str(self.drawn(row, draw)) for draw in range(self.draws)],
                    "grid_seed": int(self.grid_seeds[row]),
                },
                separators=(",", ":"),
            )

    @functools.cached_property
    def rows_sha256(self) -> str:
        """Return the name of this index in tables."""
        return _hash(self.rows())

    @functools.cached_property
    def images_sha256(self) -> str:
        """Return the hash of all names and fingerprints."""
        return _hash(map("\t".join, zip(self.names, self.fingerprints, strict=True)))

    def expect(self, data_set: str, side: Side, draws: int) -> None:
        """Raise ValueError unless this is an index for what is to be done."""
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
        if not 1 <= draws <= self.draws:
            raise ValueError(
                f"expected 1 to {self.draws} draws, which the -C index has, got {draws}; make an "
                "index with more"
            )

    def expect_images(self, files: Mapping[str, str]) -> None:
        """Raise ValueError, naming the first image, unless these are the images of this index.

        Args:
            files: path of each name.
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


def draw_corruption(
    seed: int, data_set: str, name: str, draw: int, corruptions: Sequence[str] = CORRUPTION_NAMES
) -> Corruption:
    """Return the corruption of an image in a draw, uniform over types and severities."""
    digest = _digest(seed, data_set, name, draw)
    # 64 bits for a choice of few: the remainder is uniform to 1 in 10**18.
    kind, severity = (int.from_bytes(digest[i : i + 8], "big") for i in (0, 8))
    return Corruption(
        corruptions[kind % len(corruptions)],
        SEVERITIES[severity % len(SEVERITIES)],
        int.from_bytes(digest[16:20], "big"),
    )


def draw_index(
    data_set: str,
    files: Mapping[str, str],
    *,
    side: Side = "both",
    draws: int = 10,
    seed: int = 0,
    corruptions: Sequence[str] = CORRUPTION_NAMES,
) -> CorruptionIndex:
    """Draw an index for the images of one side of a test set.

    Args:
        data_set: registered name.
        files: path of each image, under its name.
        side: which images these are.
        draws: K, at least 1.
        seed: what all draws are derived from, from 0 on.
        corruptions: names to draw from.

    Raises:
        ValueError: no images, draws or corruptions, an unknown side or corruption.
        OSError: an image cannot be read.
    """
    unknown = sorted(set(corruptions) - set(CORRUPTION_NAMES))
    if not files or draws < 1 or seed < 0 or side not in SIDES or unknown or not corruptions:
        raise ValueError(
            f"expected images, draws >= 1, seed >= 0, a side of {', '.join(SIDES)} and known "
            f"corruptions, got {len(files)} images, {draws} draws, seed {seed}, side '{side}', "
            f"{len(corruptions)} corruptions ({', '.join(unknown) or 'none'} unknown)"
        )
    names = sorted(files)
    prints = fingerprints(files)
    drawn = (
        [draw_corruption(seed, data_set, name, draw, corruptions) for draw in range(draws)]
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
        **corruption_arrays(drawn, (len(names), draws), corruptions),
    )


def corruption_arrays(
    drawn: Iterable[Sequence[Corruption]], shape: tuple[int, int], corruptions: Sequence[str]
) -> dict[str, NDArray]:
    """Return ``types``, ``severities`` and ``seeds`` of an index.

    Args:
        drawn: the K corruptions of each image.
        shape: (N, K).
        corruptions: names that ``types`` are positions in.

    Raises:
        ValueError, IndexError, KeyError: there are more or fewer corruptions, or unknown names.
    """
    position = {name: i for i, name in enumerate(corruptions)}
    types = np.zeros(shape, np.uint8)
    severities = np.zeros(shape, np.uint8)
    seeds = np.zeros(shape, np.uint32)
    for row, chosen in enumerate(drawn):
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
