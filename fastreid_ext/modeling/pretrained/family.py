"""A family of weight files: how to recognise one, rename its tensors and normalise its images.

A marker is the name of a tensor that every file of a family holds, after some prefix.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from fastreid_ext.modeling.pretrained.normalisation import Normalisation

Tensors = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Renamed:
    """Tensors of a file in the names of a backbone.

    Attributes:
        tensors: tensors by their names in the backbone.
        dropped: names in the file that are left out on purpose (classifiers, text towers, ...).
        resized: one line for each tensor whose values were interpolated to another shape.
        notes: remarks for the user, a sentence each.
        warnings: probable mistakes of the user, a sentence each.
    """

    tensors: Tensors
    dropped: list[str] = dataclasses.field(default_factory=list)
    resized: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of weight files.

    Attributes:
        name: name of the family in ``MODEL.BACKBONE.PRETRAIN_FAMILY``.
        title: name of the family in messages, such as "a Swin of timm or Microsoft".
        recognises: function that tells whether the tensors of a file are of this family.
        renamed: function that renames the tensors of a file for a backbone.
        normalisations: function that lists normalisations such weights are trained with, the usual
            one first; empty where unknown.
        optional: regular expressions of names in a backbone, one for each kind of layer that such a
            file may lack as a whole.
        accepts: function that tells whether tensors that are not recognised can be renamed where
            the user names this family; None where they cannot.
    """

    name: str
    title: str
    recognises: Callable[[Tensors], bool]
    renamed: Callable[[Tensors, nn.Module], Renamed]
    normalisations: Callable[[Tensors], tuple[Normalisation, ...]]
    optional: tuple[str, ...] = ()
    accepts: Callable[[Tensors], bool] | None = None

    def can_rename(self, tensors: Tensors) -> bool:
        """Tell whether the user may name this family for a file with these tensors."""
        return self.recognises(tensors) or (self.accepts is not None and self.accepts(tensors))


def prefix_of(marker: str, tensors: Mapping[str, Tensor]) -> str | None:
    """Find the shortest prefix of a marker in a file ("", "backbone."), None if it is absent."""
    prefixes = [
        name.removesuffix(marker)
        for name in tensors
        if name == marker or name.endswith("." + marker)
    ]
    return min(prefixes, key=len, default=None)


def split(
    tensors: Mapping[str, Tensor], prefix: str, *, without: Sequence[str] = ()
) -> tuple[Tensors, list[str]]:
    """Split tensors into those whose names begin with ``prefix`` and the names of all others.

    Args:
        tensors: tensors of a file by name.
        prefix: beginning of the names to keep, which is removed.
        without: beginnings, after the prefix, of names that count as others all the same.
    """
    inside = {}
    others = []
    for name, tensor in tensors.items():
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and not rest.startswith(tuple(without)):
            inside[rest] = tensor
        else:
            others.append(name)
    return inside, others
