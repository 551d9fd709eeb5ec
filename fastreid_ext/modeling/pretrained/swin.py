"""Swin of timm, Microsoft, torchvision and OpenMMLab, renamed to timm 1.0.

============================================ =============================================
in the file                                  in the backbone
============================================ =============================================
timm since 0.9
``layers.1.downsample.reduction.weight``     unchanged: a stage begins with its merging
Microsoft, timm before 0.9
``layers.0.downsample.reduction.weight``     ``layers.1.downsample...``: a stage ended with it
torchvision
``features.0.0.*``, ``features.0.2.*``       ``patch_embed.proj.*``, ``patch_embed.norm.*``
``features.1.0.mlp.0.*``, ``.mlp.3.*``       ``layers.0.blocks.0.mlp.fc1.*``, ``.fc2.*``
``features.2.reduction.weight``              ``layers.1.downsample.reduction.weight``
OpenMMLab (and SOLIDER)
``patch_embed.projection.*``                 ``patch_embed.proj.*``
``stages.0.blocks.0.attn.w_msa.qkv.*``       ``layers.0.blocks.0.attn.qkv.*``
``stages.0.blocks.0.ffn.layers.0.0.*``       ``layers.0.blocks.0.mlp.fc1.*``
``stages.0.blocks.0.ffn.layers.1.*``         ``layers.0.blocks.0.mlp.fc2.*``
``stages.0.downsample.*``                    ``layers.1.downsample.*``, channels reordered
``norm3.*``                                  ``norm.*``
all
``head.*``                                   left out
``relative_position_index``, ``attn_mask``   left out: computed
============================================ =============================================

Channels: merging concatenates the four tokens (row i, column j) of a 2 x 2 square. timm, Microsoft
and torchvision order them token by token, (0,0) (1,0) (0,1) (1,1), so channel c of token (i, j) has
number (2 j + i) C + c. OpenMMLab uses ``nn.Unfold``, which gives c * 4 + 2 i + j.

OpenMMLab's networks, unlike the others, shift windows even where one window covers the whole map;
our Swin does so only with SOLIDER's controller.
"""

import re

from torch import Tensor, nn

from fastreid_ext.modeling.pretrained.family import Family, Renamed, Tensors, prefix_of, split
from fastreid_ext.modeling.pretrained.normalisation import IMAGENET

TABLE = "attn.relative_position_bias_table"
TIMM = f"layers.0.blocks.0.{TABLE}"
TORCHVISION = f"features.1.0.{TABLE}"
OPENMMLAB = "stages.0.blocks.0.attn.w_msa.relative_position_bias_table"
_LEFT_OUT = ("head.", "head_dist.", "classifier.", "fc.")
_COMPUTED = ("relative_position_index", "attn_mask")
_OPENMMLAB_NAMES = (
    (r"^stages\.(\d+)\.blocks\.", r"layers.\1.blocks."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^norm3\.", "norm."),
)
# OpenMMLab's norms of earlier stages, whose outputs only detectors read.
_OTHER_OUTPUTS = ("norm0.", "norm1.", "norm2.")


def marker_of(tensors: Tensors) -> tuple[str, str] | None:
    """Find the marker of the layout and the prefix of the names; None for a file without a Swin."""
    for marker in (TIMM, OPENMMLAB, TORCHVISION):
        prefix = prefix_of(marker, tensors)
        if prefix is not None:
            return marker, prefix
    return None


def recognises(tensors: Tensors) -> bool:
    """Tell whether the file holds a Swin, in any of the four layouts."""
    return marker_of(tensors) is not None


def renamed(tensors: Tensors, backbone: nn.Module) -> Renamed:
    """Rename the tensors of any layout to timm's names."""
    marker, prefix = marker_of(tensors) or (TIMM, "")
    without = _LEFT_OUT + (_OTHER_OUTPUTS if marker == OPENMMLAB else ())
    own, dropped = split(tensors, prefix, without=without)
    dropped += [prefix + name for name in own if name.endswith(_COMPUTED)]
    own = {name: value for name, value in own.items() if not name.endswith(_COMPUTED)}
    to_timm = {TIMM: _from_timm, TORCHVISION: _from_torchvision, OPENMMLAB: from_openmmlab}
    tensors = to_timm[marker](own)
    warnings = []
    controller = "semantic_embed_w.0.weight"
    if controller in backbone.state_dict() and controller not in tensors:
        warnings.append(
            "the file holds no semantic controller, and that of the backbone stays random, since "
            "it is not trained; set MODEL.BACKBONE.SEMANTIC_WEIGHT -1.0, or take a SOLIDER"
        )
    return Renamed(tensors, dropped, warnings=warnings)


def _from_timm(tensors: Tensors) -> Tensors:
    """Move the merging at the end of a stage (before timm 0.9) to the next stage."""
    if "layers.0.downsample.reduction.weight" not in tensors:
        return tensors
    return {_of_next_stage(name, "layers"): value for name, value in tensors.items()}


def _of_next_stage(name: str, stages: str) -> str:
    return re.sub(
        rf"^{stages}\.(\d+)\.downsample\.",
        lambda found: f"layers.{int(found[1]) + 1}.downsample.",
        name,
    )


def _from_torchvision(tensors: Tensors) -> Tensors:
    """Rename ``features.(2 i + 1)`` to stage i, and ``features.(2 i)`` to the merging before it."""
    result = {}
    for name, value in tensors.items():
        found = re.match(r"features\.(\d+)\.(.*)", name)
        if found:
            index = int(found[1])
            rest = found[2]
            if index == 0:
                name = "patch_embed." + {"0": "proj", "2": "norm"}[rest[0]] + rest[1:]
            elif index % 2:
                rest = rest.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")
                name = f"layers.{index // 2}.blocks.{rest}"
            else:
                name = f"layers.{index // 2}.downsample.{rest}"
        result[name] = value
    return result


def from_openmmlab(tensors: Tensors) -> Tensors:
    """Rename OpenMMLab's tensors, and reorder the channels of the merging."""
    result = {}
    for name, value in tensors.items():
        if re.match(r"stages\.\d+\.downsample\.", name):
            result[_of_next_stage(name, "stages")] = _token_by_token(value)
            continue
        for pattern, replacement in _OPENMMLAB_NAMES:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def _token_by_token(value: Tensor) -> Tensor:
    """Reorder the last axis from (C, i, j) to (j, i, C)."""
    parts = value.unflatten(-1, (-1, 2, 2))
    return parts.movedim(-3, -1).transpose(-3, -2).flatten(-3)


FAMILY = Family(
    name="swin",
    title="a Swin (timm, Microsoft, torchvision or OpenMMLab)",
    recognises=recognises,
    renamed=renamed,
    normalisations=lambda tensors: (IMAGENET,),
    optional=(r"^semantic_embed_[wb]\.",),
)
