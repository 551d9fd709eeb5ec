"""What a family of weight files is: how to recognise it, how to rename it, how it was normalised.

A marker is the name of a tensor that every file of a family holds, behind some prefix.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from fastreid_ext.modeling.pretrained.normalisation import Normalisation

Tensors = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Renamed:
    """Tensors in a backbone's names.

    Attributes:
        tensors: by the backbone's names.
        dropped: names in the file that are left out on purpose (classifiers, text towers, ...).
        resized: one line for each tensor whose values were interpolated to another shape.
        notes: what else the user should know, a sentence each.
        warnings: what is probably not what the user wants.
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
        name: value of ``MODEL.BACKBONE.PRETRAIN_FAMILY``.
        title: for messages, "a Swin of timm or Microsoft".
        recognises: whether a file's tensors are of this family.
        renamed: the file's tensors in the names of a backbone.
        normalisations: what such weights are trained with, the usual first; empty = unknown.
        optional: regular expressions of names in a backbone, one for each kind of layer that such a
            file may lack as a whole.
        accepts: whether the tensors can be renamed where the user names this family.
    """

    name: str
    title: str
    recognises: Callable[[Tensors], bool]
    renamed: Callable[[Tensors, nn.Module], Renamed]
    normalisations: Callable[[Tensors], tuple[Normalisation, ...]]
    optional: tuple[str, ...] = ()
    accepts: Callable[[Tensors], bool] | None = None

    def can_rename(self, tensors: Tensors) -> bool:
        """Whether the user may name this family for such a file."""
        return self.recognises(tensors) or (self.accepts is not None and self.accepts(tensors))


def prefix_of(marker: str, tensors: Mapping[str, Tensor]) -> str | None:
    """Return the shortest prefix of a marker in a file ("", "backbone."), None if absent."""
    prefixes = [
        name.removesuffix(marker)
        for name in tensors
        if name == marker or name.endswith("." + marker)
    ]
    return min(prefixes, key=len, default=None)


def split(
    tensors: Mapping[str, Tensor], prefix: str, *, without: Sequence[str] = ()
) -> tuple[Tensors, list[str]]:
    """Return the tensors behind ``prefix`` by the rest of their names, and the others' names.

    Args:
        tensors: of a file.
        prefix: of the names to keep.
        without: beginnings, behind the prefix, of names that go to the others too.
    """
    inside, others = {}, []
    for name, tensor in tensors.items():
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and not rest.startswith(tuple(without)):
            inside[rest] = tensor
        else:
            others.append(name)
    return inside, others
