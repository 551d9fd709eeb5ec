"""Files in the backbone's own names: OSNet, ShuffleNet and others of fastreid, timm's, the user's.

==================================== =============================================
in the file                          in the backbone
==================================== =============================================
``conv1.conv.weight``, ...           the same
``backbone.conv1.conv.weight``, ...  without ``backbone.``, if no name fits with it
``classifier.*``, ``fc.*``, ...      left out, if the backbone has no such layer
==================================== =============================================

Anything is of this family, if of no other; how much fits decides whether it loads.
"""

from torch import nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, split

_CLASSIFIERS = ("classifier.", "fc.", "head.", "head_fc.", "linear.", "last_linear.")
_PREFIXES = ("", "backbone.", "base.", "encoder.", "model.", "trunk.", "visual.trunk.")


def recognises(tensors: Tensors) -> bool:
    """Anything."""
    return True


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Take off the prefix with which most names fit; leave classifiers out."""
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
