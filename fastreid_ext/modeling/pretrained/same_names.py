"""Files in the backbone's own names: other networks of fastreid, of timm, and of users.

==================================== =============================================
in the file                          in the backbone
==================================== =============================================
``conv1.conv.weight``, ...           unchanged
``backbone.conv1.conv.weight``, ...  without ``backbone.``, if more names fit so
``classifier.*``, ``fc.*``, ...      left out, if the backbone has no such layer
==================================== =============================================

Every file that no other family recognises belongs to this one. The share of tensors that fit
decides whether it loads.
"""

from torch import nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, split

_CLASSIFIERS = ("classifier.", "fc.", "head.", "head_fc.", "linear.", "last_linear.")
_PREFIXES = ("", "backbone.", "base.", "encoder.", "model.", "trunk.", "visual.trunk.")


def recognises(tensors: Tensors) -> bool:
    """Accept every file."""
    return True


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Remove the prefix without which most names fit, and leave classifiers out."""
    ours = backbone.state_dict()
    candidates = [split(tensors, prefix) for prefix in _PREFIXES]
    own, dropped = max(candidates, key=lambda pair: sum(name in ours for name in pair[0]))
    classifiers = [name for name in own if name.startswith(_CLASSIFIERS) and name not in ours]
    kept = {name: value for name, value in own.items() if name not in classifiers}
    return Renamed(kept, dropped + classifiers)


FAMILY = Family(
    name="same",
    title="a file in the backbone's own names",
    recognises=recognises,
    renamed=renamed,
    normalisations=lambda tensors: (),
    optional=(r"^NL_\d",),
)
