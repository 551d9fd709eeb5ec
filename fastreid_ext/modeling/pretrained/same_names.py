"""Files in the backbone's own names: OSNet, ShuffleNet and others of fastreid, timm's, the user's.

==================================== =============================================
in the file                          in the backbone
==================================== =============================================
``conv1.conv.weight``, ...           the same
``backbone.conv1.conv.weight``, ...  without ``backbone.``, if no name fits with it
``stages.0.0.*``                     ``stages_0.0.*`` in timm's feature networks
``classifier.*``, ``fc.*``, ...      left out, if the backbone has no such layer
==================================== =============================================

Anything is of this family, if of no other; how much fits decides whether it loads.
"""

import re
from collections.abc import Callable

from torch import nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors

_CLASSIFIERS = ("classifier.", "fc.", "head.", "head_fc.", "linear.", "last_linear.")
_PREFIXES = ("", "backbone.", "base.", "encoder.", "model.", "trunk.", "visual.trunk.")


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Take off the prefix with which most names fit; leave classifiers out."""
    ours = backbone.state_dict()
    candidates = [
        {convert(name.removeprefix(prefix)): name for name in tensors if name.startswith(prefix)}
        for prefix in _PREFIXES
        for convert in (str, _flattened)
    ]
    best = max(candidates, key=lambda names: sum(name in ours for name in names))
    own, dropped = {}, [name for name in tensors if name not in set(best.values())]
    for name, original in best.items():
        if name.startswith(_CLASSIFIERS) and name not in ours:
            dropped.append(original)
        else:
            own[name] = tensors[original]
    return Renamed(own, dropped)


def _flattened(name: str) -> str:
    """Return ``stages_0.x`` for ``stages.0.x``, as timm names the children of feature networks."""
    return re.sub(r"^([a-z_]+)\.(\d+)\.", r"\1_\2.", name)


_everything: Callable[[Tensors], bool] = lambda tensors: True  # noqa: E731

FAMILY = Family(
    name="same",
    title="a file in the backbone's own names",
    recognises=_everything,
    renamed=renamed,
    normalisations=lambda tensors: (),
    optional=(r"^NL_\d",),
)
