"""Comparison of the tensors of a file with those of a model.

fastreid loads the tensors that fit and only warns about the rest, so that a run can start from
random weights unnoticed. Here the cases are counted, and too few matches are an error.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import torch

# Weight (classes, features) and bias (classes,) of a classification layer: heads.weight, MGN's
# b1_head.weight, BDB's heads.part_head.bias, ...
_CLASSIFIER = re.compile(r"(^|[._])heads?\.(weight|bias)$")


@dataclasses.dataclass(frozen=True)
class Matching:
    """Names of tensors, grouped by how a file and a model agree.

    Attributes:
        matched: tensors in both, of equal shape.
        classifiers: classification layers that differ in the number of classes only.
        reshaped: tensors in both of different shapes, as ``name file's shape -> model's shape``.
        missing: tensors in the model only.
        unexpected: tensors in the file only.
        new: tensors in the model only, in layers that this kind of file never holds.
    """

    matched: list[str]
    classifiers: list[str]
    reshaped: list[str]
    missing: list[str]
    unexpected: list[str]
    new: list[str] = dataclasses.field(default_factory=list)

    @property
    def share(self) -> float:
        """Compute the share in [0, 1] of the model's tensors that match.

        Classifiers of another size and new layers do not count.
        """
        expected = len(self.matched) + len(self.reshaped) + len(self.missing)
        return len(self.matched) / expected if expected else 1.0

    def __str__(self) -> str:
        return f"{len(self.matched)} matched" + "".join(
            f"; {len(names)} {kind}{first_names(names)}"
            for kind, names in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("reshaped", self.reshaped),
                ("new", self.new),
                ("classifiers of another number of classes", self.classifiers),
            )
            if names
        )


def match(
    model: Mapping[str, torch.Tensor],
    checkpoint: Mapping[str, torch.Tensor],
    *,
    optional: Sequence[str] = (),
) -> Matching:
    """Compare two state dicts by name and shape.

    The step counters of batch normalisation (``num_batches_tracked``), which old checkpoints lack
    and fastreid does not use, do not count as missing.

    Args:
        model: tensors of the model by name.
        checkpoint: tensors of the file by name.
        optional: regular expressions, one for each kind of layer that a file may lack as a whole.
            If no name in the file matches one, the model's names that match it are new, not
            missing.
    """
    matched = []
    classifiers = []
    reshaped = []
    for name in model.keys() & checkpoint.keys():
        ours = tuple(model[name].shape)
        theirs = tuple(checkpoint[name].shape)
        if ours == theirs:
            matched.append(name)
        elif _CLASSIFIER.search(name) and ours[1:] == theirs[1:]:
            classifiers.append(name)
        else:
            reshaped.append(f"{name} {theirs} -> {ours}")
    absent = [
        pattern for pattern in optional if not any(re.search(pattern, name) for name in checkpoint)
    ]
    missing = []
    new = []
    for name in model.keys() - checkpoint.keys():
        if not name.endswith(".num_batches_tracked"):
            is_new = any(re.search(pattern, name) for pattern in absent)
            (new if is_new else missing).append(name)
    unexpected = list(checkpoint.keys() - model.keys())
    return Matching(*map(sorted, (matched, classifiers, reshaped, missing, unexpected, new)))


def first_names(names: Sequence[str], count: int = 4) -> str:
    """Write the first few names in brackets, since a list of hundreds is not read."""
    return f" ({', '.join(names[:count])}{', ...' if len(names) > count else ''})"
