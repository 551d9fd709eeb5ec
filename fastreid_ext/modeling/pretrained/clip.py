"""Image tower of CLIP, a ViT, of OpenAI, open_clip and transformers, renamed to timm's names.

================================================== ==================================
in the file                                        in the backbone
================================================== ==================================
OpenAI, open_clip
``visual.conv1.weight``                            ``patch_embed.proj.weight``
``visual.class_embedding`` (D)                     ``cls_token`` (1, 1, D)
``visual.positional_embedding`` (N, D)             ``pos_embed`` (1, N, D)
``visual.ln_pre.*``, ``visual.ln_post.*``          ``norm_pre.*``, ``norm.*``
``visual.transformer.resblocks.0.ln_1.*``          ``blocks.0.norm1.*``
``visual.transformer.resblocks.0.attn.in_proj_*``  ``blocks.0.attn.qkv.*``
``visual.transformer.resblocks.0.mlp.c_fc.*``      ``blocks.0.mlp.fc1.*``
``visual.proj`` (D, P)                             ``head.weight`` (P, D)
transformers (below or without ``vision_model.``)
``embeddings.patch_embedding.weight``              ``patch_embed.proj.weight``
``embeddings.position_embedding.weight`` (N, D)    ``pos_embed`` (1, N, D)
``pre_layrnorm.*`` (sic), ``post_layernorm.*``     ``norm_pre.*``, ``norm.*``
``encoder.layers.0.self_attn.q_proj.*`` (k, v)     ``blocks.0.attn.qkv.*``, concatenated
``visual_projection.weight`` (P, D)                ``head.weight``
open_clip with a timm tower
``visual.trunk.blocks.0.*``                        ``blocks.0.*``
``visual.head.proj.weight``                        ``head.weight``
all
``text_model.*``, ``transformer.*``, ``text.*``,   left out: the text tower
``token_embedding.*``, ``logit_scale``, ...
================================================== ==================================

OpenAI's towers have ``x * sigmoid(1.702 x)`` ("quick GELU") in their MLPs, most of open_clip's have
GELU. The names do not tell, but TorchScript archives are OpenAI's, and a hub folder has a config.
"""

import re

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, prefix_of, split
from fastreid_ext.modeling.pretrained.normalisation import CLIP, HALF, Normalisation

# Markers of the layouts.
_OPENAI = "class_embedding"
_TRANSFORMERS = "embeddings.class_embedding"
_TRUNK = "trunk.blocks.0.attn.qkv.weight"
_TIMM = "norm_pre.weight"
_TEXT = re.compile(r"(^|\.)(text_model\.|token_embedding\.weight|text\.|text_projection)")
_RESNET = "attnpool.positional_embedding"
_OPENAI_NAMES = (
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^proj$", "head.weight"),
)
_TRANSFORMERS_NAMES = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
)


def recognises(tensors: Tensors) -> bool:
    """Tell whether the file holds a CLIP, including those we cannot use (text only, a ResNet)."""
    return (
        _layout(tensors) is not None
        or prefix_of(_RESNET, tensors) is not None
        or any(_TEXT.search(name) for name in tensors)
    )


def _layout(tensors: Tensors) -> tuple[str, str] | None:
    """Find the marker of the layout and the prefix of the names; None without a ViT for images."""
    for marker in (_TRUNK, _TRANSFORMERS, _OPENAI):
        prefix = prefix_of(marker, tensors)
        if prefix is not None:
            return marker, prefix + ("trunk." if marker == _TRUNK else "")
    prefix = prefix_of(_TIMM, tensors)
    if prefix is not None and f"{prefix}blocks.0.attn.qkv.weight" in tensors:
        return _TIMM, prefix
    return None


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Keep the image tower, and rename it to timm's names.

    Raises:
        ValueError: the file holds only a text tower, or a CLIP with a ResNet.
    """
    layout = _layout(tensors)
    if layout is None:
        found = "a ResNet" if prefix_of(_RESNET, tensors) is not None else "the text tower only"
        raise ValueError(
            f"expected a CLIP with an image tower that is a ViT, got {found} "
            f"({', '.join(sorted(tensors)[:3])}, ...); give the whole CLIP or its vision model"
        )
    marker, prefix = layout
    own, dropped = split(tensors, prefix)
    rename = {_OPENAI: _from_openai, _TRANSFORMERS: _from_transformers}.get(marker, dict)
    tower = rename(own)
    for outer in ("visual_projection.weight", "visual.head.proj.weight"):
        found = next((name for name in dropped if name.endswith(outer)), None)
        if found is not None:
            dropped.remove(found)
            tower["head.weight"] = tensors[found]
    if "head.bias" in tower and not tower["head.bias"].any():  # timm's projection has one, of zeros
        dropped.append(f"{prefix}head.bias")
        del tower["head.bias"]
    return Renamed(tower, dropped, warnings=_projection_problem(tower, backbone))


def _projection_problem(tower: Tensors, backbone: nn.Module) -> list[str]:
    """Warn if the backbone has a projection of the features that the file does not hold."""
    ours = backbone.state_dict().get("head.weight")
    theirs = tower.get("head.weight")
    if ours is None or (theirs is not None and theirs.shape == ours.shape):
        return []
    got = "none" if theirs is None else f"one to {len(theirs)}"
    return [
        f"expected CLIP's projection to {len(ours)} channels in the file, got {got}, so that of "
        "the backbone stays random; give the whole CLIP, or a vision model with its projection"
    ]


def _from_openai(tensors: Tensors) -> Tensors:
    tower = {_replaced(name, _OPENAI_NAMES): value for name, value in tensors.items()}
    if "head.weight" in tower:
        tower["head.weight"] = tower["head.weight"].T.contiguous()
    return _with_batch_axis(tower)


def _from_transformers(tensors: Tensors) -> Tensors:
    tensors = {name: value for name, value in tensors.items() if not name.endswith("position_ids")}
    tower = {}
    for name, value in tensors.items():
        found = re.match(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)$", name)
        if found is None:
            tower[_replaced(name, _TRANSFORMERS_NAMES)] = value
        elif found[2] == "q":
            parts = [name.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
            if all(part in tensors for part in parts):
                joined = torch.cat([tensors[part] for part in parts])
                tower[f"blocks.{found[1]}.attn.qkv.{found[3]}"] = joined
    return _with_batch_axis(tower)


def _replaced(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _with_batch_axis(tower: Tensors) -> Tensors:
    shapes = {"cls_token": (1, 1, -1), "pos_embed": (1, *_last_two(tower.get("pos_embed")))}
    for name, shape in shapes.items():
        if name in tower:
            tower[name] = tower[name].reshape(shape)
    return tower


def _last_two(value: Tensor | None) -> tuple[int, ...]:
    return () if value is None else tuple(value.shape[-2:])


def normalisations(tensors: Tensors) -> tuple[Normalisation, ...]:
    """List CLIP's normalisation, or 0.5 for CLIP-ReID, whose tower is ``image_encoder.``."""
    is_clip_reid = any(name.startswith("image_encoder.") for name in tensors)
    return (HALF,) if is_clip_reid else (CLIP,)


FAMILY = Family(
    name="clip",
    title="a CLIP (OpenAI, open_clip or transformers)",
    recognises=recognises,
    renamed=renamed,
    normalisations=normalisations,
    optional=(r"^head\.",),
)
