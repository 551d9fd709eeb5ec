"""Random corruptions of an image, and their record, from which they can be repeated.

A sampled corruption is ``fog:3:81723``: name, severity, seed. Several, one after the other, are
joined by ``+``; those of the views of an image by ``|``. :func:`replay` repeats them on
the same image with the same pixels.

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
    """One sampled corruption.

    Attributes:
        name: name of the corruption, one of ``CORRUPTION_NAMES``.
        severity: strength from 1 (slight) to 5 (strong).
        seed: seed of its random numbers, in [0, 2**32).
    """

    name: str
    severity: int
    seed: int

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> "Corruption":
        """Parse a corruption that ``str`` wrote as ``text``.

        Raises:
            ValueError: the text is not name:severity:seed.
        """
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts[1:]):
            raise ValueError(
                f"expected a corruption as name:severity:seed, e.g. fog:3:81723, got {text!r}; "
                "copy it from the record of the run"
            )
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def apply(self, image: NDArray[np.uint8], *, reference: bool = False) -> NDArray[np.uint8]:
        """Corrupt a copy of an (H, W, 3) uint8 image, always to the same pixels."""
        rng = np.random.RandomState(self.seed) if reference else np.random.default_rng(self.seed)
        return corrupt(image, self.name, self.severity, rng, reference=reference)


def record(corruptions: Sequence[Corruption]) -> str:
    """Write corruptions, in the order of their application; "" for none."""
    return BETWEEN_CORRUPTIONS.join(map(str, corruptions))


def parse_record(text: str) -> tuple[Corruption, ...]:
    """Parse the corruptions that :func:`record` wrote.

    Raises:
        ValueError: the text is not a record.
    """
    return tuple(Corruption.parse(part) for part in text.split(BETWEEN_CORRUPTIONS) if text)


def replay(image: NDArray[np.uint8], text: str, *, reference: bool = False) -> NDArray[np.uint8]:
    """Apply the corruptions of a record to a copy of an image.

    Example:
        >>> image = np.full((64, 32, 3), 100, np.uint8)
        >>> replay(image, "contrast:3:7+pixelate:1:8").shape
        (64, 32, 3)

    Args:
        image: (H, W, 3) uint8 image before its corruptions; never written to.
        text: record of corruptions, written by :func:`record`.
        reference: ``INPUT.CORRUPTION.REFERENCE`` of the run that wrote the record.

    Raises:
        ValueError: the text is not a record.
    """
    image = image.copy()
    for corruption in parse_record(text):
        image = corruption.apply(image, reference=reference)
    return image


class RandomCorruption:
    """Corrupt images with a random chain of corruptions of different kinds.

    Example:
        >>> transform = RandomCorruption(names=["fog", "contrast"], count=2)
        >>> image, text = transform(np.full((64, 32, 3), 100, np.uint8), np.random.default_rng(0))
        >>> [part.name for part in parse_record(text)]
        ['fog', 'contrast']

    Args:
        names: kinds sampled from, uniformly and without replacement in one chain.
        severities: severities sampled from, uniformly, for each corruption of a chain.
        probability: probability that an image is corrupted, in [0, 1].
        count: number of corruptions in a chain, at most the number of names.
        reference: give the pixels of ``imagecorruptions`` 1.1.2, more slowly.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        probability: float = 1.0,
        count: int = 1,
        reference: bool = False,
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
        self.reference = reference

    def __call__(
        self, image: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], str]:
        """Corrupt an image with the probability; return it and its record."""
        chain = self.sample(rng)
        return self.apply(image, chain), record(chain)

    def sample(self, rng: np.random.Generator) -> tuple[Corruption, ...]:
        """Sample the chain of one image; empty where it stays unchanged."""
        return self.sample_chain(rng, self.count) if rng.random() < self.probability else ()

    def sample_chain(self, rng: np.random.Generator, count: int) -> tuple[Corruption, ...]:
        """Sample ``count`` corruptions of different kinds; the probability is not used."""
        kinds = rng.permutation(len(self.names))[:count]
        return tuple(self.sample_of_kind(rng, self.names[kind]) for kind in kinds)

    def sample_of_kind(self, rng: np.random.Generator, name: str) -> Corruption:
        """Sample severity and seed of a corruption of a given kind."""
        severity = self.severities[int(rng.integers(len(self.severities)))]
        return Corruption(name, severity, int(rng.integers(_SEEDS)))

    def apply(
        self, image: NDArray[np.uint8], corruptions: Sequence[Corruption]
    ) -> NDArray[np.uint8]:
        """Apply a chain to an image, which is never written to and returned itself for no chain."""
        for corruption in corruptions:
            image = corruption.apply(image, reference=self.reference)
        return image

    def __repr__(self) -> str:
        return (
            f"RandomCorruption({len(self.names)} kinds, severities={self.severities}, "
            f"probability={self.probability:g}, count={self.count}, reference={self.reference})"
        )
