"""Contradictions between a meta-architecture and its head, views, losses, sampler and batch."""

from fastreid.config import CfgNode

from fastreid_ext.data.own_sets import unlabelled_names
from fastreid_ext.modeling.meta_arch.byol_pretrain import BYOL
from fastreid_ext.modeling.meta_arch.prototype_baseline import PROTOTYPE
from fastreid_ext.modeling.meta_arch.simclr_pretrain import NT_XENT
from fastreid_ext.modeling.meta_arch.view_losses import CONTRASTIVE, JS, VIEW_LOSSES

# Architectures that learn without labels, and their losses.
PRETRAINING_LOSSES = {
    "ContrastivePretrain": VIEW_LOSSES,
    "SimCLRPretrain": (NT_XENT,),
    "BYOLPretrain": (BYOL,),
}
_RECIPES = {
    "ContrastivePretrain": ("dapg", "pose"),
    "SimCLRPretrain": ("independent",),
    "BYOLPretrain": ("independent",),
}
# A second network in them follows the first one in every forward pass of training.
_WITH_MOVING_AVERAGE = ("ContrastivePretrain", "BYOLPretrain")
_PROJECTION = "ProjectionHead"
# Architectures with the parts of fastreid's Baseline.
_BASELINES = (
    *("ClusterBaseline", "ClusterContrast", "HHCL", "SpCL", "ICE", "PPLR"),
    *("Baseline", "PrototypeBaseline", "DomainBaseline", "IDM", "CaCL", "HCD", "UNRN", "GLT"),
)
_WITH_LABELS = ("Baseline", "PrototypeBaseline", "MGN", "BDB", "MoCo", "Distiller")
_PRETRAINING_RECIPES = (
    "projects/DAPG/configs/Base-DAPG-stage1.yml or projects/SimCLR/configs/Base-SimCLR.yml"
)
_KEYS = {"dapg": 3, "pose": 1}  # of each image


def architecture_problems(cfg: CfgNode) -> list[str]:
    """List keys that contradict the architecture or have no effect under it, with the remedy."""
    return [
        *_batch_drop_block(cfg),
        *_stripe_head(cfg),
        *_views(cfg),
        *_pretraining(cfg),
        *_prototypes(cfg),
        *_batch_norm_groups(cfg),
    ]


def _batch_drop_block(cfg: CfgNode) -> list[str]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    heads = cfg.MODEL.HEADS
    is_bdb = heads.NAME == "BDBHead"
    if (architecture == "BDB" and not is_bdb) or (is_bdb and architecture in (*_BASELINES, "MGN")):
        return [
            "expected MODEL.META_ARCHITECTURE BDB and MODEL.HEADS.NAME BDBHead together, got "
            f"{architecture} and {heads.NAME}; start from projects/BDB/configs/Base-BDB.yml"
        ]
    if is_bdb and heads.BDB.DROP_HEIGHT == heads.BDB.DROP_WIDTH == 1:
        return [
            "MODEL.HEADS.BDB.DROP_HEIGHT and DROP_WIDTH of 1 drop the whole feature map; "
            "lower one of them"
        ]
    return []


def _stripe_head(cfg: CfgNode) -> list[str]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    others = (*_BASELINES, "MGN", "BDB")
    if cfg.MODEL.HEADS.NAME != "StripeHead" or architecture == "PPLR" or architecture not in others:
        return []
    return [
        f"MODEL.HEADS.NAME StripeHead has the features of several stripes, which {architecture} "
        "does not know; take EmbeddingHead, or MODEL.META_ARCHITECTURE PPLR"
    ]


def _batch_norm_groups(cfg: CfgNode) -> list[str]:
    group = cfg.MODEL.BN_GROUP
    batch = cfg.SOLVER.IMS_PER_BATCH
    if group and batch % group:
        return [
            f"expected SOLVER.IMS_PER_BATCH to be a multiple of MODEL.BN_GROUP, got {batch} and "
            f"{group}; change one of them"
        ]
    return []


def _views(cfg: CfgNode) -> list[str]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    recipe = cfg.INPUT.VIEWS.RECIPE
    if architecture in PRETRAINING_LOSSES or architecture == "ICE":  # it has its own recipe
        return []
    named = [name for name in VIEW_LOSSES if name in cfg.MODEL.LOSSES.NAME]
    problems = [
        f"MODEL.LOSSES.NAME has {name}, which compares views of an image, but INPUT.VIEWS.RECIPE "
        "is empty; set it to cil (start from projects/CIL/configs/Base-AGW-CIL.yml), "
        "or remove the name"
        for name in named
        if not recipe
    ]
    if recipe not in ("", "caj") and not named and cfg.INPUT.VIEWS.SUPERVISED == "clean":
        problems.append(
            f"INPUT.VIEWS.RECIPE {recipe} makes several views of each image, but no loss looks at "
            f"more than the first; add {JS} to MODEL.LOSSES.NAME, set INPUT.VIEWS.SUPERVISED "
            "all, or empty the recipe"
        )
    if recipe == "caj":
        problems += [
            f"MODEL.LOSSES.NAME has {name}, which compares the views of each image, but "
            "INPUT.VIEWS.RECIPE caj shows an infrared image once; remove the name, or take cil"
            for name in named
        ]
        if cfg.INPUT.VIEWS.SUPERVISED != "all":
            problems.append(
                "expected INPUT.VIEWS.SUPERVISED all for INPUT.VIEWS.RECIPE caj, whose streams are "
                "images of their own, got clean; set it to all"
            )
    if recipe == "dapg":
        problems.append(
            "INPUT.VIEWS.RECIPE dapg has no clean view; it is for ContrastivePretrain. Take cil"
        )
    if recipe == "pose":
        problems.append(
            "INPUT.VIEWS.RECIPE pose is for ContrastivePretrain; take cil, or start from "
            "projects/DAPG/configs/Base-DAPG-stage2.yml"
        )
    return problems


def _pretraining(cfg: CfgNode) -> list[str]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    heads = cfg.MODEL.HEADS
    unlabelled = unlabelled_names(cfg)
    if architecture in _WITH_LABELS and unlabelled:
        return [
            f"DATASETS.NAMES has {unlabelled[0]}, but {architecture} learns from labels; start "
            f"from {_PRETRAINING_RECIPES}, or name labelled sets only"
        ]
    if architecture not in PRETRAINING_LOSSES:
        if heads.NAME == _PROJECTION and architecture in (
            *_BASELINES,
            "MGN",
            "BDB",
        ):
            return [
                f"MODEL.HEADS.NAME {_PROJECTION} has no classes, which {architecture} needs; take "
                "EmbeddingHead, or MODEL.META_ARCHITECTURE ContrastivePretrain"
            ]
        return []
    return [*_head_and_views(cfg), *_negatives(cfg)]


def _head_and_views(cfg: CfgNode) -> list[str]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    heads = cfg.MODEL.HEADS
    views = cfg.INPUT.VIEWS
    recipes = _RECIPES[architecture]
    start = f"start from {_PRETRAINING_RECIPES}"
    rules = (
        (
            heads.NAME == _PROJECTION and heads.EMBEDDING_DIM >= 1,
            f"expected MODEL.HEADS.NAME {_PROJECTION} with an EMBEDDING_DIM under {architecture}, "
            f"got {heads.NAME} and {heads.EMBEDDING_DIM}; {start}",
        ),
        (
            views.RECIPE in recipes,
            f"expected INPUT.VIEWS.RECIPE {' or '.join(recipes)} under {architecture}, got "
            f"'{views.RECIPE}'; {start}",
        ),
        (
            architecture == "ContrastivePretrain" or views.COUNT in (0, 2),
            f"expected INPUT.VIEWS.COUNT 2 under {architecture}, got {views.COUNT}",
        ),
        (
            architecture != "ContrastivePretrain" or CONTRASTIVE in cfg.MODEL.LOSSES.NAME,
            f"expected {CONTRASTIVE} in MODEL.LOSSES.NAME under ContrastivePretrain, got "
            f"{', '.join(cfg.MODEL.LOSSES.NAME)}; {JS} alone is 0 for a constant feature",
        ),
        (
            views.RECIPE != "pose" or JS not in cfg.MODEL.LOSSES.NAME,
            f"MODEL.LOSSES.NAME has {JS}, which compares keys of one image, but INPUT.VIEWS.RECIPE "
            "pose has one; remove the name",
        ),
        (
            architecture not in _WITH_MOVING_AVERAGE or not cfg.TEST.PRECISE_BN.ENABLED,
            "TEST.PRECISE_BN runs training batches, which would move the second network of "
            f"{architecture}, and its queue, without a step; set TEST.PRECISE_BN.ENABLED False",
        ),
    )
    return [message for holds, message in rules if not holds]


def _negatives(cfg: CfgNode) -> list[str]:
    architecture = cfg.MODEL.META_ARCHITECTURE
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    queue = cfg.MODEL.MOCO.QUEUE
    batch = cfg.SOLVER.IMS_PER_BATCH
    keys = _KEYS.get(cfg.INPUT.VIEWS.RECIPE, 1)
    rules = (
        (
            "Identity" not in sampler,
            f"expected DATALOADER.SAMPLER_TRAIN TrainingSampler under {architecture}, got "
            f"{sampler}; labels are not used, so images of one identity in a batch would be each "
            "other's negatives",
        ),
        (
            batch >= 2,
            f"expected at least two images in a batch, got {batch} (SOLVER.IMS_PER_BATCH); "
            f"{architecture} tells them apart",
        ),
        (
            queue == 0 or queue >= keys * batch,
            f"expected MODEL.MOCO.QUEUE 0, or at least the {keys} keys of each image of a "
            f"batch, {keys} * {batch}, got {queue}",
        ),
    )
    return [message for holds, message in rules if not holds]


def _prototypes(cfg: CfgNode) -> list[str]:
    if cfg.MODEL.META_ARCHITECTURE != "PrototypeBaseline":
        return []
    heads = cfg.MODEL.HEADS
    rules = (
        (
            PROTOTYPE in cfg.MODEL.LOSSES.NAME,
            f"MODEL.META_ARCHITECTURE PrototypeBaseline without {PROTOTYPE} in MODEL.LOSSES.NAME "
            "is Baseline; add the name, or take Baseline",
        ),
        (
            heads.NECK_FEAT == "after",
            "expected MODEL.HEADS.NECK_FEAT after under PrototypeBaseline, whose prototypes are "
            f"those of evaluated features, got {heads.NECK_FEAT}",
        ),
        (
            not cfg.TEST.PRECISE_BN.ENABLED,
            "TEST.PRECISE_BN runs training batches, which would move the prototypes without a "
            "step; set TEST.PRECISE_BN.ENABLED False",
        ),
    )
    return [message for holds, message in rules if not holds]
