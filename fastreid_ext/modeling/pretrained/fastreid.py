"""Checkpoints of fastreid and of our runs, pre-training included: a backbone with heads.

============================================ ================================================
in the file (under ``model``)                in the backbone
============================================ ================================================
``backbone.conv1.weight``, ...               without ``backbone.``
``heads.*``, ``b1_head.*``, ...              left out
``*.source.*``, ``*.mixed.*`` of a norm      left out: other domains than the target
MGN with a ResNet, which is cut in two
``backbone.0.*``, ``.1.*``                   ``conv1.*``, ``bn1.*``
``backbone.4.*``, ``.5.*``, ``.6.*``         ``layer1.*``, ``layer2.*``, ``layer3.0.*``
``b1.0.0.*``, ``b1.1.0.*``                   ``layer3.1.*``, ``layer4.0.*``
MGN with a backbone that splits itself
``backbone.*``, ``b1.*``                     as its ``split_last_stage()`` names them
all MGNs
``b2.*``, ``b3.*``                           left out: copies of ``b1``, trained for body parts
============================================ ================================================

The normalisation is read from ``config.yaml`` beside the checkpoint, which every run writes.
"""

import re

from torch import Tensor, nn

from fastreid_ext.modeling.pretrained import resnet
from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors

_HEAD = re.compile(r"(heads\.|b\d+(_head)?\.)")
_BRANCH = "b1."
_OTHER_DOMAIN = re.compile(r"\.(source|mixed)\.(weight|bias|running_\w+|num_batches_tracked)$")
_RESNET_PARTS = (
    (r"^backbone\.0\.", "conv1."),
    (r"^backbone\.1\.", "bn1."),
    (r"^backbone\.4\.", "layer1."),
    (r"^backbone\.5\.", "layer2."),
    (r"^backbone\.6\.", "layer3.0."),
    (r"^b1\.1\.", "layer4."),
)


def recognises(tensors: Tensors) -> bool:
    """Tell whether the file holds a backbone and heads."""
    return any(name.startswith("backbone.") for name in tensors) and any(
        _HEAD.match(name) for name in tensors
    )


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Keep the backbone, and join its parts where MGN has cut it."""
    is_cut = any(name.startswith(_BRANCH) for name in tensors)
    names = _names_of_parts(backbone) if is_cut else {}
    own = {}
    dropped = []
    for name, value in tensors.items():
        ours = _resnet_name(name) if is_cut and not names else names.get(name)
        if _OTHER_DOMAIN.search(name):
            ours = None
        elif ours is None and not is_cut and name.startswith("backbone."):
            ours = name.removeprefix("backbone.")
        if ours is None:
            dropped.append(name)
        else:
            own[ours] = value
    notes = ["an MGN's: its last layers come from the global branch, b1"] if is_cut else []
    return Renamed(own, dropped, notes=notes)


def _resnet_name(name: str) -> str | None:
    found = re.match(r"b1\.0\.(\d+)\.(.*)", name)
    if found:
        return f"layer3.{int(found[1]) + 1}.{found[2]}"
    for pattern, replacement in _RESNET_PARTS:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return None


def _names_of_parts(backbone: nn.Module) -> dict[str, str]:
    """Map an MGN's names to those of a backbone that splits itself, by the tensors they share."""
    if not hasattr(backbone, "split_last_stage"):
        return {}
    ours = {id(value): name for name, value in _all_tensors(backbone)}
    trunk, last_stage = backbone.split_last_stage()
    return {
        prefix + name: ours[id(value)]
        for prefix, part in (("backbone.", trunk), (_BRANCH, last_stage))
        for name, value in _all_tensors(part)
        if id(value) in ours
    }


def _all_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


FAMILY = Family(
    name="fastreid",
    title="a checkpoint of fastreid or of ours",
    recognises=recognises,
    renamed=renamed,
    normalisations=lambda tensors: (),
    optional=(*resnet.OPTIONAL, r"^semantic_embed_[wb]\."),
)
