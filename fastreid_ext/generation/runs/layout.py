"""Where everything of a job lies below its folder."""

import dataclasses
from pathlib import Path

from fastreid_ext.atomic import PARTIAL
from fastreid_ext.manifest.record import IMAGE_SUFFIXES


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

    @property
    def limit(self) -> Path:
        """IDENTITIES.LIMIT that the identities were listed with."""
        return self.output / "identities.limit"

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

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that the stages write to."""
        names = ("captions", "reference_sets", "adapters", "images", "failed", "filter", "locks")
        return (*(self.output / name for name in names), self.output / PARTIAL)

    def is_generated(self, name: str) -> bool:
        """Whether images of an identity are there, as many as were once asked for."""
        return (self.images / name / "metadata.jsonl").is_file()

    def has_images(self, name: str, number: int) -> bool:
        """Whether the first ``number`` images of an identity are there; failed ones count too.

        Looks for the last one, since a folder is put in place whole; where that failed or was lost,
        rows are counted.
        """
        if not self.is_generated(name):
            return False
        last = self.images / name / f"{name}_{number - 1:04d}"
        is_there = any(last.with_name(last.name + suffix).is_file() for suffix in IMAGE_SUFFIXES)
        return is_there or self.image_count(name) >= number

    def image_count(self, name: str) -> int:
        """Count the rows of an identity, those of failed images too; 0 if it is not generated."""
        count = 0
        for file in ("metadata.jsonl", "failures.jsonl"):
            path = self.images / name / file
            count += len(path.read_bytes().splitlines()) if path.is_file() else 0
        return count

    @property
    def filter(self) -> Path:
        """Features, thresholds and pictures of the filters."""
        return self.output / "filter"
