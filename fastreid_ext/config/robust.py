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
    """Add keys below ``MODEL.LOSSES``, ``MODEL.MOCO`` and ``MODEL.HEADS.PROJECTION``."""
    losses = cfg.MODEL.LOSSES
    losses.JS = CN()
    # Weight of JSConsistencyLoss in the total loss; 12 in CIL, 1 - alpha in DAPG. The branches of
    # BDB and MGN share it equally.
    losses.JS.SCALE = 1.0
    # Distribution of a view under ContrastivePretrain: softmax of its cosine similarities to the
    # "negatives", or of the "channels" of its embedding; both are divided by the temperature of
    # MULTI_POSITIVE.
    losses.JS.OVER = "negatives"
    losses.MULTI_POSITIVE = CN()
    # Weight of MultiPositiveContrastiveLoss in the total loss; alpha of DAPG. The branches of BDB
    # and MGN share it equally.
    losses.MULTI_POSITIVE.SCALE = 1.0
    # Temperature tau, above 0, by which cosine similarities are divided.
    losses.MULTI_POSITIVE.TEMPERATURE = 0.7
    losses.NT_XENT = CN()
    # Weight of NTXentLoss in the total loss.
    losses.NT_XENT.SCALE = 1.0
    # Temperature tau of SimCLR, above 0, by which cosine similarities are divided.
    losses.NT_XENT.TEMPERATURE = 0.1

    moco = cfg.MODEL.MOCO = CN()
    # ContrastivePretrain: number of keys of earlier batches that serve as negatives; 0 = those of
    # the other images of the batch, of all processes, instead. LUPerson's MoCo holds 65536. Each
    # image leaves three keys, so a queue of more than three times the training images holds an
    # image's own keys among its negatives.
    moco.QUEUE = 0
    # Share in [0, 1) of the key encoder that stays in each step, m of MoCo.
    moco.MOMENTUM = 0.999
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
