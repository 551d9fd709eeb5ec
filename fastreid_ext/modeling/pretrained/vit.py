"""ViT of timm, DeiT, DINO, MAE, and fastreid's own.

========================================== =====================================================
in the file                                in the backbone
========================================== =====================================================
``cls_token``, ``pos_embed``               the same; the grid of ``pos_embed`` is fitted
``patch_embed.proj.weight``                the same; (D, 3 * P * P) of old files becomes a filter
``blocks.0.attn.qkv.weight``, ``norm.*``   the same
``dist_token`` (distilled DeiT)            left out, with its vector in ``pos_embed``
``head.*``, ``head_dist.*``, ``decoder_*`` left out
========================================== =====================================================

timm's ViTs are trained with 0.5 for mean and deviation ("augreg"), DeiT, DINO and MAE with
ImageNet's; nothing in a file says which.
"""

from torch import nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, prefix_of, split
from fastreid_ext.modeling.pretrained.normalisation import HALF, IMAGENET, Normalisation

MARKER = "blocks.0.attn.qkv.weight"
_HEADS = ("head.", "head_dist.", "pre_logits.", "decoder_", "mask_token", "dist_token", "fc.")


def recognises(tensors: Tensors) -> bool:
    """Whether these are a ViT's and not a CLIP's, which has a norm before the blocks."""
    prefix = prefix_of(MARKER, tensors)
    if prefix is None:
        return False
    return f"{prefix}pos_embed" in tensors and f"{prefix}norm_pre.weight" not in tensors


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Take off the prefix, the heads and the distillation token."""
    own, dropped = split(tensors, prefix_of(MARKER, tensors) or "", without=_HEADS)
    resized = []
    if any(name.endswith("dist_token") for name in dropped) and "pos_embed" in own:
        position = own["pos_embed"]
        own["pos_embed"] = position[:, [0, *range(2, position.shape[1])]]
        resized.append("pos_embed: without the distillation token's vector")
    filters = own.get("patch_embed.proj.weight")
    wanted = backbone.state_dict().get("patch_embed.proj.weight")
    if filters is not None and filters.ndim == 2 and wanted is not None:
        own["patch_embed.proj.weight"] = filters.reshape(len(filters), *wanted.shape[1:])
        resized.append(f"patch_embed.proj.weight: {tuple(filters.shape)} -> {tuple(wanted.shape)}")
    return Renamed(own, dropped, resized)


def normalisations(tensors: Tensors) -> tuple[Normalisation, ...]:
    """A distillation token tells a DeiT, a prefix or a mask token a DINO or MAE.

    TransReID, whose network is ``base.`` beside a ``bottleneck``, trains with 0.5.
    """
    prefix = prefix_of(MARKER, tensors)
    if prefix == "base." and any(name.startswith("bottleneck.") for name in tensors):
        return (HALF,)
    tells = any(f"{prefix}{name}" in tensors for name in ("dist_token", "mask_token"))
    return (IMAGENET,) if prefix or tells else (HALF, IMAGENET)


FAMILY = Family(
    name="vit",
    title="a ViT (timm, DeiT, DINO, MAE or fastreid)",
    recognises=recognises,
    renamed=renamed,
    normalisations=normalisations,
    optional=(r"^sie_embed",),
)
