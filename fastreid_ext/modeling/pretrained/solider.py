"""SOLIDER [0]: a Swin in OpenMMLab's names with the linear layers of a semantic controller.

================================================== =====================================
in the file                                        in the backbone
================================================== =====================================
``teacher`` (dictionary of all below)
``backbone.stages.0.blocks.0.attn.w_msa.qkv.*``    as OpenMMLab's in :mod:`.swin`
``backbone.semantic_embed_w.0.weight`` (2C, 2)     ``semantic_embed_w.0.weight``
``backbone.semantic_embed_w.3.*``, ``_b.3.*``      left out: unused, after the last stage
``head.*`` (DINO's)                                left out
``base.*`` (a network fine-tuned by SOLIDER-REID)  as ``backbone.*``
``bottleneck.*``, ``classifier.*``                 left out
================================================== =====================================

Images are normalised with mean and deviation 0.5. Without ``MODEL.BACKBONE.SEMANTIC_WEIGHT``
the controller is left out; SOLIDER-REID fine-tunes with 0.2.

[0] Chen et al., "Beyond Appearance: a Semantic Controllable Self-Supervised Learning Framework for
    Human-Centric Visual Tasks", CVPR 2023, https://arxiv.org/abs/2303.17602; code
    github.com/tinyvision/SOLIDER and SOLIDER-REID.
"""

from torch import nn

from fastreid_ext.modeling.pretrained import swin
from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors
from fastreid_ext.modeling.pretrained.normalisation import HALF

_EMBEDS = ("semantic_embed_w.", "semantic_embed_b.")


def recognises(tensors: Tensors) -> bool:
    """Tell whether the file holds a Swin with a semantic controller."""
    found = swin.marker_of(tensors)
    return found is not None and f"{found[1]}semantic_embed_w.0.weight" in tensors


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Rename the Swin, and keep the layers of the controller that the backbone has."""
    inner = swin.renamed(tensors, backbone)
    ours = backbone.state_dict()
    unread = [name for name in inner.tensors if name.startswith(_EMBEDS) and name not in ours]
    notes = []
    if not any(name.startswith(_EMBEDS) for name in ours):
        notes.append(
            "SOLIDER's semantic controller is left out, because MODEL.BACKBONE.SEMANTIC_WEIGHT is "
            "negative; SOLIDER-REID fine-tunes with 0.2"
        )
    own = {name: value for name, value in inner.tensors.items() if name not in unread}
    return Renamed(own, inner.dropped + unread, inner.resized, inner.notes + notes)


FAMILY = Family(
    name="solider",
    title="a SOLIDER Swin",
    recognises=recognises,
    renamed=renamed,
    normalisations=lambda tensors: (HALF,),
)
