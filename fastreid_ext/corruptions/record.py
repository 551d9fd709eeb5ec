"""One or several corruptions of drawn kind, severity and seed, which can be written down.

A drawn corruption is ``fog:3:81723``: name, severity, seed. Several, one after the other, are
joined by ``+``; those of the views of an image by ``|``. :func:`replay` makes the same pixels of
the same image from such a record.

[0] Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", ICLR 2019, https://arxiv.org/abs/1903.12261
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.corruptions.cpu import corrupt

BETWEEN_CORRUPTIONS = "+"
BETWEEN_VIEWS = "|"
_SEEDS = 2**31  # also valid for a RandomState


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One drawn corruption.

    Attributes:
        name: one of ``CORRUPTION_NAMES``.
        severity: 1 (slight) to 5 (strong).
        seed: of its noise, in [0, 2**32).
    """

    name: str
    severity: int
    seed: int

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> "Corruption":
        """Return the corruption that ``str`` wrote as ``text``.

        Raises:
            ValueError: the text is not name:severity:seed.
        """
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts[1:]):
            raise ValueError(
                f"expected a corruption as name:severity:seed, e.g. fog:3:81723, got {text!r}; "
                "take it as the run recorded it"
            )
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def apply(self, image: NDArray[np.uint8], *, faithful: bool = False) -> NDArray[np.uint8]:
        """Return a corrupted copy of a (H, W, 3) uint8 image, always the same one."""
        rng = np.random.RandomState(self.seed) if faithful else np.random.default_rng(self.seed)
        return corrupt(image, self.name, self.severity, rng, faithful=faithful)


def record(corruptions: Sequence[Corruption]) -> str:
    """Write corruptions, in the order of their application; "" for none."""
    return BETWEEN_CORRUPTIONS.join(map(str, corruptions))


def parse_record(text: str) -> tuple[Corruption, ...]:
    """Return the corruptions that :func:`record` wrote.

    Raises:
        ValueError: the text is no such record.
    """
    return tuple(Corruption.parse(part) for part in text.split(BETWEEN_CORRUPTIONS) if text)


def replay(image: NDArray[np.uint8], text: str, *, faithful: bool = False) -> NDArray[np.uint8]:
    """Return what the corruptions of a record make of an image.

    Args:
        image: (H, W, 3) uint8, the image before them; never written to.
        text: what :func:`record` wrote.
        faithful: as ``INPUT.CORRUPTION.REFERENCE`` of the run that recorded it.

    Raises:
        ValueError: the text is no record.
    """
    image = image.copy()
    for corruption in parse_record(text):
        image = corruption.apply(image, faithful=faithful)
    return image


class RandomCorruption:
    """Corrupt images with a drawn chain of corruptions of different kinds.

    Args:
        names: kinds to draw from, uniformly and without replacement in one chain.
        severities: severities to draw from, uniformly, for each corruption of a chain.
        probability: of an image to be corrupted, in [0, 1].
        count: corruptions in a chain, at most the number of names.
        faithful: make the pixels of ``imagecorruptions``, more slowly.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        probability: float = 1.0,
        count: int = 1,
        faithful: bool = False,
    ) -> None:
        if not 1 <= count <= len(names):
            raise ValueError(
                f"expected a count of corruptions from 1 to the {len(names)} names, got {count}; "
                "lower INPUT.CORRUPTION.COUNT or name more kinds"
            )
        self.names = tuple(names)
        self.severities = tuple(severities)
        self.probability = probability
        self.count = count
        self.faithful = faithful

    def __call__(
        self, image: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], str]:
        """Return the image, perhaps corrupted, and the record of it."""
        drawn = self.sample(rng)
        return self.apply(image, drawn), record(drawn)

    def sample(self, rng: np.random.Generator) -> tuple[Corruption, ...]:
        """Draw the chain of one image; empty where it stays as it is."""
        return self.chain(rng, self.count) if rng.random() < self.probability else ()

    def chain(self, rng: np.random.Generator, count: int) -> tuple[Corruption, ...]:
        """Draw ``count`` corruptions of different kinds, whatever the probability."""
        kinds = rng.permutation(len(self.names))[:count]
        return tuple(self.drawn(rng, self.names[kind]) for kind in kinds)

    def drawn(self, rng: np.random.Generator, name: str) -> Corruption:
        """Draw severity and seed for a given kind."""
        severity = self.severities[int(rng.integers(len(self.severities)))]
        return Corruption(name, severity, int(rng.integers(_SEEDS)))

    def apply(
        self, image: NDArray[np.uint8], corruptions: Sequence[Corruption]
    ) -> NDArray[np.uint8]:
        """Corrupt an image one by one; returned as it is for none, never written to."""
        for corruption in corruptions:
            image = corruption.apply(image, faithful=self.faithful)
        return image

    def __repr__(self) -> str:
        return (
            f"RandomCorruption({len(self.names)} kinds, severities={self.severities}, "
            f"probability={self.probability:g}, count={self.count}, faithful={self.faithful})"
        )
