"""What became of the tensors of a weight file."""

import dataclasses
from pathlib import Path

from fastreid_ext.modeling.pretrained.matching import Matching, first_names
from fastreid_ext.modeling.pretrained.normalisation import Normalisation


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a file.

    Attributes:
        path: the file.
        family: name of its family.
        title: the family in words.
        matching: names, by how the file's tensors fit the backbone's.
        resized: one line for each tensor that was interpolated, and loaded.
        dropped: names in the file left out on purpose.
        notes: what else to know about this pair of file and backbone.
        warnings: what is probably wrong.
        normalisation: what the weights were trained with, None = unknown or one of several.
        activation: "gelu" or "quick_gelu" of a CLIP, None = unknown.
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
        """Names that were loaded."""
        return self.matching.matched

    @property
    def missing(self) -> list[str]:
        """Names of the backbone that the file should hold and does not."""
        return self.matching.missing

    @property
    def unexpected(self) -> list[str]:
        """Names in the file that nobody expected."""
        return self.matching.unexpected

    @property
    def reshaped(self) -> list[str]:
        """Tensors of another shape in the file: first those fitted and loaded, then the others."""
        return [*self.resized, *self.matching.reshaped, *self.matching.classifiers]

    def with_warning(self, warning: str) -> "LoadReport":
        """Return the report with one more warning; "" adds none."""
        return dataclasses.replace(self, warnings=[*self.warnings, *([warning] * bool(warning))])

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.title}; {len(self.matched)} tensors loaded, "
            f"{self.matching.share:.1%} of the backbone's that such a file holds"
        ]
        for what, names in (
            ("missing, left as built", self.missing),
            ("new, in no such file, left as built", self.matching.new),
            ("of another shape, left as built", self.matching.reshaped + self.matching.classifiers),
            ("fitted and loaded", self.resized),
            ("in the file, unexpected", self.unexpected),
            ("in the file, left out", self.dropped),
        ):
            if names:
                lines.append(f"  {len(names)} {what}{first_names(names)}")
        lines += [f"  {note}" for note in self.notes]
        if self.normalisation is not None:
            lines.append(f"  trained with {self.normalisation.name} normalisation")
        return "\n".join(lines)
