"""All families, in the order in which they are tried."""

import difflib

from fastreid_ext.modeling.pretrained import (
    clip,
    fastreid,
    moco,
    resnet,
    same_names,
    solider,
    swin,
    vit,
)
from fastreid_ext.modeling.pretrained.family import Family, Tensors

# The more special before the more general; the last recognises everything.
FAMILIES = tuple(
    module.FAMILY for module in (moco, fastreid, clip, solider, swin, vit, resnet, same_names)
)
AUTO = "auto"


def family_of(tensors: Tensors, *, wanted: str = AUTO, written_as: str | None = None) -> Family:
    """Return the family of a file.

    Args:
        tensors: of the file.
        wanted: name of a family, or "auto".
        written_as: family that the file names itself, as those of tools/convert_weights.py do.

    Raises:
        ValueError: there is no such family, or the file is not of it.
    """
    recognised = next(family for family in FAMILIES if family.recognises(tensors))
    if wanted == AUTO:
        named = [family for family in FAMILIES if family.name == written_as]
        return named[0] if named and named[0].can_rename(tensors) else recognised
    names = [family.name for family in FAMILIES]
    if wanted not in names:
        near = difflib.get_close_matches(wanted, [AUTO, *names], n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {AUTO}, {', '.join(names)}"
        raise ValueError(f"unknown family '{wanted}' of pre-trained weights; {hint}")
    family = FAMILIES[names.index(wanted)]
    if not family.can_rename(tensors):
        raise ValueError(
            f"expected {family.title} (MODEL.BACKBONE.PRETRAIN_FAMILY {wanted}), but the names in "
            f"the file are those of {recognised.title}, '{recognised.name}' "
            f"({', '.join(sorted(tensors)[:3])}, ...); set the key to '{recognised.name}' or auto"
        )
    return family
