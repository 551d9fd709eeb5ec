"""Keys of losses over views and of contrastive pre-training."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

JS = "JSConsistencyLoss"
CONTRASTIVE = "MultiPositiveContrastiveLoss"
NT_XENT = "NTXentLoss"
# What every meta-architecture with class logits and features can be given beside its own losses.
VIEW_LOSSES = (JS, CONTRASTIVE)
# Architectures that learn without labels, and their losses.
PRETRAINING_LOSSES = {"ContrastivePretrain": VIEW_LOSSES, "SimCLRPretrain": (NT_XENT,)}


def add_robust_keys(cfg: CfgNode) -> None:
    """Add keys below ``MODEL.LOSSES``, ``MODEL.CONTRAST`` and ``MODEL.HEADS.PROJECTION``."""
    losses = cfg.MODEL.LOSSES
    # Of several views (INPUT.VIEWS) of each image, the model's own losses see the first, which is
    # the clean one, ("clean") or "all".
    losses.VIEWS = "clean"
    losses.JS = CN()
    # Weight of "JSConsistencyLoss" in MODEL.LOSSES.NAME; 12 in CIL. 1 - alpha of DAPG. Branches of
    # BDB and MGN share it equally.
    losses.JS.SCALE = 12.0
    losses.CONTRAST = CN()
    # Weight of "MultiPositiveContrastiveLoss" and "NTXentLoss"; alpha of DAPG. Branches share it.
    losses.CONTRAST.SCALE = 1.0
    # Temperature of both, tau, above 0: cosines are divided by it.
    losses.CONTRAST.TEMPERATURE = 0.7

    contrast = cfg.MODEL.CONTRAST = CN()
    # ContrastivePretrain: number of keys of earlier batches that serve as negatives; 0 = those of
    # the other images of the batch, of all processes, instead. LUPerson's MoCo holds 65536. Each
    # image leaves three keys, so a queue of more than three times the training images holds an
    # image's own keys among its negatives.
    contrast.QUEUE = 0
    # Share in [0, 1) of the key encoder that stays in each step, m of MoCo.
    contrast.MOMENTUM = 0.999
    # What the JS term of ContrastivePretrain takes as a view's distribution: softmax over its
    # cosines with the "negatives", or over the "channels" of its embedding; both divided by tau.
    contrast.JS_OVER = "negatives"

    cfg.MODEL.HEADS.PROJECTION = CN()
    # Width of the hidden layer of ProjectionHead; 0 = that of the backbone's map. Its output has
    # MODEL.HEADS.EMBEDDING_DIM channels.
    cfg.MODEL.HEADS.PROJECTION.HIDDEN_DIM = 0


def shows_views(cfg: CfgNode) -> bool:
    """Whether training batches hold several views of each image."""
    return bool(cfg.INPUT.VIEWS.RECIPE)


def mixes_images(cfg: CfgNode) -> bool:
    """Whether training batches hold mixed images."""
    return cfg.INPUT.MIXUP.ENABLED or cfg.INPUT.CUTMIX.ENABLED
