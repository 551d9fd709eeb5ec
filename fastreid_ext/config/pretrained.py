"""Keys of pre-trained weights."""

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
