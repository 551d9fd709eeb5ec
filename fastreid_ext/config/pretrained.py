"""Keys of pre-trained weights, and what can be wrong with them before a file is opened."""

import re
from pathlib import Path

from fastreid.config import CfgNode

# Names of the families of fastreid_ext.modeling.pretrained; "auto" recognises them.
FAMILY_NAMES = (
    "auto",
    "moco",
    "fastreid",
    "clip",
    "solider",
    "swin",
    "vit",
    "resnet",
    "same",
)
_HUB = re.compile(r"hf-hub:[\w.-]+/[\w.-]+$")


def add_pretrained_keys(cfg: CfgNode) -> None:
    """Add our keys beside fastreid's ``PRETRAIN`` and ``PRETRAIN_PATH``.

    ``PRETRAIN_PATH`` is a file, a folder as the hubs lay it out, or "hf-hub:owner/name", the only
    one that uses the network.
    """
    # Family of the weight file: auto (from the names in it), or one of FAMILY_NAMES, which is then
    # an error for a file of another.
    cfg.MODEL.BACKBONE.PRETRAIN_FAMILY = "auto"
    # Share in [0, 1] of the backbone's tensors that the file must hold in equal shape, and of the
    # file's that the backbone must have, else the run does not start. Layers that no such file
    # holds (non-local blocks, ...), classifiers, text towers and the like do not count.
    cfg.MODEL.BACKBONE.MIN_PRETRAIN_MATCHED = 0.9


def pretrained_problems(cfg: CfgNode) -> list[str]:
    """Return what is wrong with the path and the threshold."""
    backbone, problems = cfg.MODEL.BACKBONE, []
    path, share = backbone.PRETRAIN_PATH, backbone.MIN_PRETRAIN_MATCHED
    if not 0 <= share <= 1:
        problems.append(f"expected MODEL.BACKBONE.MIN_PRETRAIN_MATCHED in [0, 1], got {share}")
    if not backbone.PRETRAIN:
        return problems
    if not path:
        problems.append(
            "MODEL.BACKBONE.PRETRAIN is True but MODEL.BACKBONE.PRETRAIN_PATH is empty; nothing "
            "is downloaded at run time; give a local weight file there, or set "
            "MODEL.BACKBONE.PRETRAIN False to start from random weights"
        )
    elif path.startswith("hf-hub:"):
        if not _HUB.match(path):
            problems.append(
                f"expected hf-hub:owner/name in MODEL.BACKBONE.PRETRAIN_PATH, got '{path}'"
            )
    elif not Path(path).exists():
        problems.append(
            f"no file at {path} (MODEL.BACKBONE.PRETRAIN_PATH); give the path of an existing "
            "weight file or folder, or hf-hub:owner/name to fetch one"
        )
    return problems
