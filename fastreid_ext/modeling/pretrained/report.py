"""Report on a weight file: tensors that were loaded, left out, missing or resized."""

import dataclasses
from pathlib import Path

from fastreid_ext.modeling.pretrained.matching import Matching, first_names
from fastreid_ext.modeling.pretrained.normalisation import Normalisation


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Report on the tensors of a weight file.

    Attributes:
        path: weight file that was read.
        family: name of the file's family, as in ``MODEL.BACKBONE.PRETRAIN_FAMILY``.
        title: name of the family in words.
        matching: names of tensors, grouped by how file and backbone agree.
        resized: one line for each tensor that was interpolated and loaded.
        dropped: names in the file that are left out on purpose.
        notes: remarks on this pair of file and backbone, a sentence each.
        warnings: probable mistakes of the user, a sentence each.
        normalisation: normalisation of the images in pre-training; None where the file leaves it
            open.
        activation: "gelu" or "quick_gelu" in the MLPs of a CLIP; None where it is unknown.
    """

    path: Path
    family: str
    title: str
    matching: Matching
    resized: list[str]
    dropped: list[str]
    notes: list[str]
    warnings: list[str]
    normalisation: Normalisation | None
    activation: str | None

    @property
    def matched(self) -> list[str]:
        """List names of tensors that were loaded."""
        return self.matching.matched

    @property
    def missing(self) -> list[str]:
        """List names of the backbone's tensors that the file should hold but lacks."""
        return self.matching.missing

    @property
    def unexpected(self) -> list[str]:
        """List names of tensors in the file that the backbone lacks."""
        return self.matching.unexpected

    @property
    def reshaped(self) -> list[str]:
        """List tensors whose shapes differ: those resized and loaded, then those left as built."""
        return [*self.resized, *self.matching.reshaped, *self.matching.classifiers]

    def with_warning(self, warning: str) -> "LoadReport":
        """Add a warning to a copy of the report; an empty text adds none."""
        if not warning:
            return self
        return dataclasses.replace(self, warnings=[*self.warnings, warning])

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.title}; {len(self.matched)} tensors loaded, "
            f"{self.matching.share:.1%} of the backbone's that such a file holds"
        ]
        for outcome, names in (
            ("missing, left as built", self.missing),
            ("new, in no such file, left as built", self.matching.new),
            ("of another shape, left as built", self.matching.reshaped + self.matching.classifiers),
            ("fitted and loaded", self.resized),
            ("in the file, unexpected", self.unexpected),
            ("in the file, left out", self.dropped),
        ):
            if names:
                lines.append(f"  {len(names)} {outcome}{first_names(names)}")
        lines += [f"  {note}" for note in self.notes]
        if self.normalisation is not None:
            lines.append(f"  trained with {self.normalisation.name} normalisation")
        return "\n".join(lines)
