"""MoCo v1, v2, v3, the MoCo of LUPerson, and PNL of LUPerson-NL.

========================================== ========================================
in the file                                in the backbone
========================================== ========================================
``module.encoder_q.layer1.0.conv1.weight`` ``layer1.0.conv1.weight``
``module.base_encoder.blocks.0.*`` (v3)    ``blocks.0.*``
``encoder_q.fc.0.*``, ``encoder_q.fc.2.*`` left out (the projection head)
``encoder_q.fc1.*``, ``.classifier.*``     left out (PNL's heads; ``prototypes`` too)
``encoder_k.*``, ``momentum_encoder.*``    left out (the key encoder)
``queue``, ``queue_ptr``                   left out
========================================== ========================================

After the prefix the names are a ResNet's or a ViT's. LUPerson [0] normalises with statistics of its
own images, Facebook with ImageNet's. A file does not tell which, so the report names both. A
LUPerson file whose prefix was removed looks like any other ResNet; set PRETRAIN_FAMILY moco for it.

[0] Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021,
    https://arxiv.org/abs/2012.03753; code github.com/DengpanFu/LUPerson, lup_moco.
"""

import dataclasses

from torch import nn

from fastreid_ext.modeling.pretrained import resnet, vit
from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, split
from fastreid_ext.modeling.pretrained.normalisation import IMAGENET, LUPERSON

_ENCODERS = ("encoder_q.", "base_encoder.", "online_encoder.")


def _encoder(tensors: Tensors) -> str | None:
    return next(
        (prefix for prefix in _ENCODERS if any(name.startswith(prefix) for name in tensors)), None
    )


def recognises(tensors: Tensors) -> bool:
    """Tell whether the file holds a query encoder, or a ResNet with MoCo's projection head."""
    return _encoder(tensors) is not None or (
        resnet.recognises(tensors) and "fc.2.weight" in tensors
    )


def is_encoder(tensors: Tensors) -> bool:
    """Tell whether the file may hold an encoder without prefix."""
    return resnet.recognises(tensors) or vit.recognises(tensors)


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Keep the query encoder, and rename it as a ViT or a ResNet."""
    encoder, dropped = split(tensors, _encoder(tensors) or "")
    inner = (vit if vit.recognises(encoder) else resnet).renamed(encoder, backbone)
    prefix = _encoder(tensors) or ""
    dropped += [prefix + name for name in inner.dropped]
    return dataclasses.replace(inner, dropped=dropped)


FAMILY = Family(
    name="moco",
    title="a MoCo (LUPerson, Facebook)",
    recognises=recognises,
    renamed=renamed,
    normalisations=lambda tensors: (LUPERSON, IMAGENET),
    optional=resnet.OPTIONAL,
    accepts=is_encoder,
)
