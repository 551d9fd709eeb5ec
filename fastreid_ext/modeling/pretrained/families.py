"""All families of weight files, in the order in which they are tried."""

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
from fastreid_ext.names import unknown_name

# Special families before general ones; the last recognises every file.
FAMILIES = tuple(
    module.FAMILY for module in (moco, fastreid, clip, solider, swin, vit, resnet, same_names)
)
AUTO = ""  # recognise the family by the names in the file


def family_of(tensors: Tensors, *, wanted: str = AUTO, written_as: str | None = None) -> Family:
    """Find the family of a file.

    Args:
        tensors: tensors of the file by name.
        wanted: name of a family, or "" to recognise it.
        written_as: family in the file's own metadata, as tools/convert_weights.py writes it.

    Raises:
        ValueError: the wanted family does not exist, or the file does not belong to it.
    """
    recognised = next(family for family in FAMILIES if family.recognises(tensors))
    if wanted == AUTO:
        named = [family for family in FAMILIES if family.name == written_as]
        return named[0] if named and named[0].can_rename(tensors) else recognised
    names = [family.name for family in FAMILIES]
    if wanted not in names:
        raise ValueError(unknown_name("MODEL.BACKBONE.PRETRAIN_FAMILY", wanted, names))
    family = FAMILIES[names.index(wanted)]
    if not family.can_rename(tensors):
        raise ValueError(
            f"expected {family.title} (MODEL.BACKBONE.PRETRAIN_FAMILY {wanted}), but the names in "
            f"the file are those of {recognised.title}, '{recognised.name}' "
            f"({', '.join(sorted(tensors)[:3])}, ...); set the key to '{recognised.name}' or ''"
        )
    return family
