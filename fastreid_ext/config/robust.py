"""Keys of losses over views and of contrastive pre-training, and what can be wrong with them."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN

from fastreid_ext.config.data_settings import unlabelled_names

JS = "JSConsistencyLoss"
CONTRASTIVE = "MultiPositiveContrastiveLoss"
NT_XENT = "NTXentLoss"
# What every meta-architecture with class logits and features can be given beside its own losses.
VIEW_LOSSES = (JS, CONTRASTIVE)
# Architectures that learn without labels: their losses and the recipe of their views.
PRETRAINING_LOSSES = {"ContrastivePretrain": VIEW_LOSSES, "SimCLRPretrain": (NT_XENT,)}
_RECIPES = {"ContrastivePretrain": "dapg", "SimCLRPretrain": "independent"}
_PROJECTION = "ProjectionHead"
_WITH_LABELS = ("Baseline", "MGN", "BDB", "MoCo", "Distiller")
_KEYS = 3  # of each image: k1, k2, k3


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


def robust_problems(cfg: CfgNode) -> list[str]:
    """Return what contradicts itself or would have no effect, each with what to do."""
    return [*_ranges(cfg), *_views(cfg), *_pretraining(cfg)]


def _ranges(cfg: CfgNode) -> list[str]:
    losses, contrast = cfg.MODEL.LOSSES, cfg.MODEL.CONTRAST
    hidden = cfg.MODEL.HEADS.PROJECTION.HIDDEN_DIM
    rules = (
        (
            losses.VIEWS in ("clean", "all"),
            f"expected MODEL.LOSSES.VIEWS clean or all, got '{losses.VIEWS}'",
        ),
        (
            losses.JS.SCALE >= 0,
            f"expected MODEL.LOSSES.JS.SCALE >= 0, got {losses.JS.SCALE}; 12 is CIL's",
        ),
        (
            losses.CONTRAST.SCALE >= 0,
            f"expected MODEL.LOSSES.CONTRAST.SCALE >= 0, got {losses.CONTRAST.SCALE}",
        ),
        (
            losses.CONTRAST.TEMPERATURE > 0,
            "expected MODEL.LOSSES.CONTRAST.TEMPERATURE above 0, got "
            f"{losses.CONTRAST.TEMPERATURE}; 0.7 is DAPG's",
        ),
        (
            0 <= contrast.MOMENTUM < 1,
            f"expected MODEL.CONTRAST.MOMENTUM in [0, 1), got {contrast.MOMENTUM}; 0.999 is usual",
        ),
        (contrast.QUEUE >= 0, f"expected MODEL.CONTRAST.QUEUE >= 0, got {contrast.QUEUE}"),
        (
            contrast.JS_OVER in ("negatives", "channels"),
            f"expected MODEL.CONTRAST.JS_OVER negatives or channels, got '{contrast.JS_OVER}'",
        ),
        (hidden >= 0, f"expected MODEL.HEADS.PROJECTION.HIDDEN_DIM >= 0, got {hidden}"),
    )
    return [message for holds, message in rules if not holds]


def _views(cfg: CfgNode) -> list[str]:
    architecture, recipe = cfg.MODEL.META_ARCHITECTURE, cfg.INPUT.VIEWS.RECIPE
    if architecture in PRETRAINING_LOSSES:
        return []
    named = [name for name in VIEW_LOSSES if name in cfg.MODEL.LOSSES.NAME]
    problems = [
        f"MODEL.LOSSES.NAME has {name}, which compares views of an image, but INPUT.VIEWS.RECIPE "
        "is empty; set it to cil (start from configs/Base-AGW-CIL.yml), or remove the name"
        for name in named
        if not recipe
    ]
    if recipe and not named and cfg.MODEL.LOSSES.VIEWS == "clean":
        problems.append(
            f"INPUT.VIEWS.RECIPE {recipe} makes several views of each image, but no loss looks at "
            f"more than the first; add {JS} to MODEL.LOSSES.NAME, set MODEL.LOSSES.VIEWS all, or "
            "empty the recipe"
        )
    if recipe == "dapg":
        problems.append(
            "INPUT.VIEWS.RECIPE dapg has no clean view; it is for ContrastivePretrain. Take cil"
        )
    return problems


def _pretraining(cfg: CfgNode) -> list[str]:
    architecture, heads = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS
    unlabelled = unlabelled_names(cfg)
    if architecture in _WITH_LABELS and unlabelled:
        return [
            f"DATASETS.NAMES has {unlabelled[0]}, but {architecture} learns from labels; start "
            "from configs/Base-DAPG-stage1.yml or Base-SimCLR.yml, or name labelled sets only"
        ]
    if architecture not in PRETRAINING_LOSSES:
        if heads.NAME == _PROJECTION and architecture in ("Baseline", "MGN", "BDB"):
            return [
                f"MODEL.HEADS.NAME {_PROJECTION} has no classes, which {architecture} needs; take "
                "EmbeddingHead, or MODEL.META_ARCHITECTURE ContrastivePretrain"
            ]
        return []
    return [*_head_and_views(cfg), *_negatives(cfg)]


def _head_and_views(cfg: CfgNode) -> list[str]:
    architecture, heads = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS
    views, recipe = cfg.INPUT.VIEWS, _RECIPES[architecture]
    start = "start from configs/Base-DAPG-stage1.yml or Base-SimCLR.yml"
    rules = (
        (
            heads.NAME == _PROJECTION and heads.EMBEDDING_DIM >= 1,
            f"expected MODEL.HEADS.NAME {_PROJECTION} with an EMBEDDING_DIM under {architecture}, "
            f"got {heads.NAME} and {heads.EMBEDDING_DIM}; {start}",
        ),
        (
            views.RECIPE == recipe,
            f"expected INPUT.VIEWS.RECIPE {recipe} under {architecture}, got '{views.RECIPE}'; "
            f"{start}",
        ),
        (
            architecture != "SimCLRPretrain" or views.COUNT in (0, 2),
            f"expected INPUT.VIEWS.COUNT 2 under {architecture}, got {views.COUNT}",
        ),
        (
            architecture != "ContrastivePretrain" or CONTRASTIVE in cfg.MODEL.LOSSES.NAME,
            f"expected {CONTRASTIVE} in MODEL.LOSSES.NAME under ContrastivePretrain, got "
            f"{', '.join(cfg.MODEL.LOSSES.NAME)}; {JS} alone is 0 for a constant feature",
        ),
        (
            architecture != "ContrastivePretrain" or not cfg.TEST.PRECISE_BN.ENABLED,
            "TEST.PRECISE_BN runs training batches, which would move the key encoder and the queue "
            "of ContrastivePretrain without a step; set TEST.PRECISE_BN.ENABLED False",
        ),
    )
    return [message for holds, message in rules if not holds]


def _negatives(cfg: CfgNode) -> list[str]:
    architecture, sampler = cfg.MODEL.META_ARCHITECTURE, cfg.DATALOADER.SAMPLER_TRAIN
    queue, batch = cfg.MODEL.CONTRAST.QUEUE, cfg.SOLVER.IMS_PER_BATCH
    rules = (
        (
            "Identity" not in sampler,
            f"expected DATALOADER.SAMPLER_TRAIN TrainingSampler under {architecture}, got "
            f"{sampler}; labels are not used, so images of one person in a batch would be each "
            "other's negatives",
        ),
        (
            batch >= 2,
            f"expected at least two images in a batch, got {batch} (SOLVER.IMS_PER_BATCH); "
            f"{architecture} tells them apart",
        ),
        (
            queue == 0 or queue >= _KEYS * batch,
            f"expected MODEL.CONTRAST.QUEUE 0, or at least the {_KEYS} keys of each image of a "
            f"batch, {_KEYS} * {batch}, got {queue}",
        ),
    )
    return [message for holds, message in rules if not holds]
