"""Paths of a job's files below its folder."""

import dataclasses
from pathlib import Path

from fastreid_ext.atomic import PARTIAL
from fastreid_ext.manifest.record import IMAGE_SUFFIXES


@dataclasses.dataclass(frozen=True)
class Layout:
    """Paths of the files of a job.

    Attributes:
        output: folder of the job, OUTPUT_DIR.
    """

    output: Path

    @property
    def identities(self) -> Path:
        """List of all identities, with the reason of those that are left out."""
        return self.output / "identities.jsonl"

    @property
    def limit(self) -> Path:
        """File with the IDENTITIES.LIMIT that the identities were listed with."""
        return self.output / "identities.limit"

    def answers(self, name: str) -> Path:
        """File of the captioner's answers about an identity's images."""
        return self.output / "captions" / f"{name}.json"

    @property
    def captions(self) -> Path:
        """Captions, one row for each identity, that a person may correct."""
        return self.output / "captions.jsonl"

    @property
    def clusters(self) -> Path:
        """Assignment of identities to reference sets."""
        return self.output / "reference_sets" / "clusters.json"

    def reference_set(self, cluster: str) -> Path:
        """Folder of a reference set, which the base model generated."""
        return self.output / "reference_sets" / cluster

    def adapter(self, name: str) -> Path:
        """Folder of an identity's fine-tuned weights."""
        return self.output / "adapters" / name

    @property
    def images(self) -> Path:
        """Folder of the generated set, which holds nothing else."""
        return self.output / "images"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders that the stages write to."""
        names = ("captions", "reference_sets", "adapters", "images", "failed", "filter", "locks")
        return (*(self.output / name for name in names), self.output / PARTIAL)

    def is_generated(self, name: str) -> bool:
        """Tell whether an identity has been generated, with however many images."""
        return (self.images / name / "metadata.jsonl").is_file()

    def has_images(self, name: str, number: int) -> bool:
        """Tell whether the first ``number`` images of an identity exist; failed ones count too.

        Looks for the last image, since a folder is moved in place when it is complete. Where that
        image failed or was lost, rows are counted.
        """
        if not self.is_generated(name):
            return False
        last = self.images / name / f"{name}_{number - 1:04d}"
        is_there = any(last.with_name(last.name + suffix).is_file() for suffix in IMAGE_SUFFIXES)
        return is_there or self.image_count(name) >= number

    def image_count(self, name: str) -> int:
        """Count the rows of an identity, failed images included; 0 before it is generated."""
        count = 0
        for file in ("metadata.jsonl", "failures.jsonl"):
            path = self.images / name / file
            count += len(path.read_bytes().splitlines()) if path.is_file() else 0
        return count

    @property
    def filter(self) -> Path:
        """Folder of the filters' features, thresholds and pictures."""
        return self.output / "filter"
