"""Whether the tensors of a checkpoint are those of a model.

fastreid loads what fits and only warns about the rest, so that a run can start from random weights
unnoticed. Here the four cases are counted and too few matches are an error.
"""

import dataclasses
import re
from collections.abc import Mapping

import torch

# Weight of a classification layer, (classes, features): heads.weight, MGN's b1_head.weight, ...
_CLASSIFIER = re.compile(r"(^|[._])heads?\.weight$")


@dataclasses.dataclass(frozen=True)
class Matching:
    """Names of tensors, by how a checkpoint's tensors fit a model's.

    Attributes:
        matched: in both, of equal shape.
        classifiers: classification layers that differ in the number of classes only.
        reshaped: in both, of other shape: ``name (checkpoint shape -> model shape)``.
        missing: in the model only.
        unexpected: in the checkpoint only.
    """

    matched: list[str]
    classifiers: list[str]
    reshaped: list[str]
    missing: list[str]
    unexpected: list[str]

    @property
    def share(self) -> float:
        """Share in [0, 1] of the model's tensors that match, classifiers of other size left out."""
        expected = len(self.matched) + len(self.reshaped) + len(self.missing)
        return len(self.matched) / expected if expected else 1.0

    def __str__(self) -> str:
        return f"{len(self.matched)} matched" + "".join(
            f"; {len(names)} {kind}{_first(names)}"
            for kind, names in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("reshaped", self.reshaped),
                ("classifiers of another number of classes", self.classifiers),
            )
            if names
        )


def match(model: Mapping[str, torch.Tensor], checkpoint: Mapping[str, torch.Tensor]) -> Matching:
    """Compare two state dicts by name and shape.

    The step counters of batch normalisation (``num_batches_tracked``), which old checkpoints lack
    and fastreid does not use, do not count as missing.
    """
    matched, classifiers, reshaped = [], [], []
    for name in model.keys() & checkpoint.keys():
        ours, theirs = tuple(model[name].shape), tuple(checkpoint[name].shape)
        if ours == theirs:
            matched.append(name)
        elif _CLASSIFIER.search(name) and ours[1:] == theirs[1:]:
            classifiers.append(name)
        else:
            reshaped.append(f"{name} {theirs} -> {ours}")
    missing = [
        name
        for name in model.keys() - checkpoint.keys()
        if not name.endswith(".num_batches_tracked")
    ]
    unexpected = list(checkpoint.keys() - model.keys())
    return Matching(*map(sorted, (matched, classifiers, reshaped, missing, unexpected)))


def _first(names: list[str], count: int = 4) -> str:
    """Show a few names; a list of hundreds helps nobody."""
    return f" ({', '.join(names[:count])}{', ...' if len(names) > count else ''})"
