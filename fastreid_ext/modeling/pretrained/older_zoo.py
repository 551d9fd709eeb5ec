"""Heads of fastreid's older model zoo, in the names of today.

================================== ==================================================
in the file                        in the model
================================== ==================================================
``heads.bnneck.weight``, ...       ``heads.bottleneck.<last>.weight``, the layer of the neck that
                                   normalises: 0, or 1 behind a reduction (``EMBEDDING_DIM``)
``heads.classifier.weight``        ``heads.weight``
``b1_head.bnneck.*``, ...          the same below ``b1_head`` (MGN)
================================== ==================================================

Today's names of the same file are never overwritten.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

_OLDER = re.compile(r"(?P<head>(?:.*[._])?heads?)\.(?P<part>bnneck|classifier)\.(?P<rest>.+)$")


def of_today(weights: Mapping[str, Tensor], model: Collection[str]) -> dict[str, str]:
    """Map each older name of a file to the model's name; empty for a file of today.

    Args:
        weights: tensors of the file.
        model: names of the model's tensors.
    """
    found = {}
    for name in weights:
        today = _today(name, model)
        if name not in model and today in model and today not in weights:
            found[name] = today
    return found


def _today(name: str, model: Collection[str]) -> str:
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
