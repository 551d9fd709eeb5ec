"""ViT of timm, DeiT, DINO, MAE, and fastreid's own.

========================================== =====================================================
in the file                                in the backbone
========================================== =====================================================
``cls_token``, ``pos_embed``               unchanged; the grid of ``pos_embed`` is resized
``patch_embed.proj.weight``                unchanged; (D, 3 * P * P) of old files becomes a filter
``blocks.0.attn.qkv.weight``, ``norm.*``   unchanged
``dist_token`` (distilled DeiT)            left out, with its vector in ``pos_embed``
``head.*``, ``head_dist.*``, ``decoder_*`` left out
========================================== =====================================================

timm's ViTs are trained with mean and deviation 0.5 ("augreg"), DeiT, DINO and MAE with ImageNet's.
A file does not tell which.
"""

from torch import nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, prefix_of, split
from fastreid_ext.modeling.pretrained.normalisation import HALF, IMAGENET, Normalisation

MARKER = "blocks.0.attn.qkv.weight"
_HEADS = ("head.", "head_dist.", "pre_logits.", "decoder_", "mask_token", "dist_token", "fc.")


def recognises(tensors: Tensors) -> bool:
    """Tell whether the file holds a ViT, and not a CLIP, which has a norm before the blocks."""
    prefix = prefix_of(MARKER, tensors)
    if prefix is None:
        return False
    return f"{prefix}pos_embed" in tensors and f"{prefix}norm_pre.weight" not in tensors


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Remove the prefix, the heads and the distillation token."""
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
    """List the likely normalisations from marks of the training script.

    A DeiT has a distillation token, a DINO or MAE a prefix or a mask token: ImageNet's. TransReID,
    whose network is ``base.`` beside a ``bottleneck``, trains with 0.5.
    """
    prefix = prefix_of(MARKER, tensors)
    if prefix == "base." and any(name.startswith("bottleneck.") for name in tensors):
        return (HALF,)
    has_token = any(f"{prefix}{name}" in tensors for name in ("dist_token", "mask_token"))
    return (IMAGENET,) if prefix or has_token else (HALF, IMAGENET)


FAMILY = Family(
    name="vit",
    title="a ViT (timm, DeiT, DINO, MAE or fastreid)",
    recognises=recognises,
    renamed=renamed,
    normalisations=normalisations,
    optional=(r"^sie_embed",),
)
