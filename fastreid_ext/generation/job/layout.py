"""Where everything of a job lies below its folder."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a job, OUTPUT_DIR.

    Attributes:
        output: the folder.
    """

    output: Path

    @property
    def identities(self) -> Path:
        """Who was found, and why some are left out."""
        return self.output / "identities.jsonl"

    def answers(self, name: str) -> Path:
        """What the captioner said of an identity's images."""
        return self.output / "captions" / f"{name}.json"

    @property
    def captions(self) -> Path:
        """One row an identity, for a person to correct."""
        return self.output / "captions.jsonl"

    @property
    def clusters(self) -> Path:
        """Which reference set an identity has."""
        return self.output / "reference_sets" / "clusters.json"

    def reference_set(self, cluster: str) -> Path:
        """Images of the untouched model."""
        return self.output / "reference_sets" / cluster

    def adapter(self, name: str) -> Path:
        """What was learned of an identity."""
        return self.output / "adapters" / name

    @property
    def images(self) -> Path:
        """The generated set; nothing else lies in it."""
        return self.output / "images"

    def is_drawn(self, name: str) -> bool:
        """Whether an identity's images are all there."""
        return (self.images / name / "metadata.jsonl").is_file()

    @property
    def filter(self) -> Path:
        """Features, thresholds and pictures of the filters."""
        return self.output / "filter"
