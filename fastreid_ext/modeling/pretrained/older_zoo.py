"""Heads of fastreid's older model zoo, renamed to current names.

================================== ==================================================
in the file                        in the model
================================== ==================================================
``heads.bnneck.weight``, ...       ``heads.bottleneck.<last>.weight``, the layer of the neck that
                                   normalises: 0, or 1 behind a reduction (``EMBEDDING_DIM``)
``heads.classifier.weight``        ``heads.weight``
``b1_head.bnneck.*``, ...          ``b1_head.bottleneck.<last>.*`` (MGN)
================================== ==================================================

Current names that a file holds too are never overwritten.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

_OLDER = re.compile(r"(?P<head>(?:.*[._])?heads?)\.(?P<part>bnneck|classifier)\.(?P<rest>.+)$")


def current_names(weights: Mapping[str, Tensor], model: Collection[str]) -> dict[str, str]:
    """Map each older name in a file to the model's name; empty for a file with current names.

    Args:
        weights: tensors of the file by name.
        model: names of the model's tensors.
    """
    found = {}
    for name in weights:
        current = _current_name(name, model)
        if name not in model and current in model and current not in weights:
            found[name] = current
    return found


def _current_name(name: str, model: Collection[str]) -> str:
    match = _OLDER.match(name)
    if match is None:
        return name
    if match["part"] == "classifier":
        return f"{match['head']}.{match['rest']}"
    prefix = f"{match['head']}.bottleneck."
    layers = [other.removeprefix(prefix).split(".")[0] for other in model if _is_in(other, prefix)]
    return f"{prefix}{max(layers, key=int, default='0')}.{match['rest']}"


def _is_in(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name.removeprefix(prefix).split(".")[0].isdecimal()
