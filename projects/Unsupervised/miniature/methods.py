"""Methods, starts and common sizes of the miniature of Diffusion-ReID's tables 4 and 5."""

import dataclasses
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[3]
_MINIATURE = _REPOSITORY / "configs" / "miniature"
_CLUSTERS = _REPOSITORY / "projects" / "Unsupervised" / "configs"
_ADAPTIVE = _REPOSITORY / "projects" / "DomainAdaptation" / "configs"
TARGET = "RenderedCampus"
SOURCE = "RenderedMall"

PRETRAIN = _MINIATURE / "pretrain.yml"

# ResNet-18 at 64x32; batches of 8 clusters of 4 images, statistics of 16 images as in the recipes.
_SIZES = (
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.BACKBONE.DEPTH", "18x"),
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
    *("INPUT.PADDING.SIZE", "4"),
    *("DATASETS.ROOT", "datasets/miniature"),
    *("DATALOADER.NUM_INSTANCE", "4", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.AMP.ENABLED", "False", "SOLVER.CHECKPOINT_PERIOD", "100"),
    *("TEST.NUM_WORKERS", "0"),
)
_EPOCHS = ("SOLVER.ITERS_PER_EPOCH", "40", "SOLVER.MAX_EPOCH", "10")
# One and a half times the 16 images of a person.
_NEIGHBOURS = ("UNSUPERVISED.K1", "24", "UNSUPERVISED.K2", "6")
_SCHEDULE = (*_EPOCHS, *_NEIGHBOURS)
_STEPS = ("SOLVER.STEPS", "[5, 8]")


@dataclasses.dataclass(frozen=True)
class Method:
    """A training on the target, or a control of it.

    Attributes:
        name: name in tables, and of the folder of its runs.
        recipe: YAML file of its settings.
        settings: KEY VALUE pairs of its miniature.
        trained_on: data set of ``DATASETS.NAMES``: the target, or for transfer the source.
        uses: what it knows: "target", "cameras", "source" or "labels", joined by " + ".
    """

    name: str
    recipe: Path
    settings: tuple[str, ...]
    trained_on: str = TARGET
    uses: str = "target"


def _without_labels(
    name: str, recipe: str, *settings: str, steps: tuple[str, ...] = _STEPS, uses: str = "target"
) -> Method:
    pairs = (*_SIZES, *_SCHEDULE, *steps, "SOLVER.IMS_PER_BATCH", "32", "MODEL.BN_GROUP", "16")
    return Method(name, _CLUSTERS / f"Base-{recipe}.yml", (*pairs, *settings), uses=uses)


def _adaptive(
    name: str,
    recipe: str,
    *settings: str,
    schedule: tuple[str, ...] = _SCHEDULE,
    uses: str = "source + target",
) -> Method:
    pairs = (*_SIZES, *schedule, *_STEPS, "SOLVER.IMS_PER_BATCH", "64", "MODEL.BN_GROUP", "16")
    sources = ("DATASETS.SOURCES", f"('{SOURCE}',)")
    path = _ADAPTIVE / f"Base-{recipe}.yml"
    return Method(name, path, (*pairs, *sources, *settings), uses=uses)


def _labelled(name: str, trained_on: str, uses: str) -> Method:
    pairs = ("SOLVER.MAX_EPOCH", "10", "SOLVER.ITERS_PER_EPOCH", "40")
    return Method(name, _MINIATURE / "BoT.yml", pairs, trained_on, uses)


# A moving average of 0.999 would still be three fifths of its start after 400 steps.
_QUICK_TEACHER = ("MODEL.ICE.MOMENTUM", "0.99")
_WARMUP = ("SOLVER.WARMUP_EPOCHS", "2")
# A feature map of six rows, for three stripes.
_STRIPES = ("INPUT.SIZE_TRAIN", "[96, 32]", "INPUT.SIZE_TEST", "[96, 32]")
_WITH_CAMERAS = "target + cameras"
METHODS = (
    _labelled("transfer", SOURCE, "source"),
    _without_labels("dbscan", "DBSCAN"),
    _without_labels("cluster_contrast", "ClusterContrast"),
    _without_labels("spcl", "SpCL"),
    _without_labels("ice", "ICE", *_QUICK_TEACHER, *_WARMUP, steps=(), uses=_WITH_CAMERAS),
    _without_labels(
        "ice_agnostic",
        "ICE",
        *(*_QUICK_TEACHER, *_WARMUP),
        *("MODEL.LOSSES.NAME", "('ICELoss',)"),
        steps=(),
    ),
    _without_labels("pplr", "PPLR", *_STRIPES, uses=_WITH_CAMERAS),
    _without_labels(
        "pplr_agnostic",
        "PPLR",
        *_STRIPES,
        *("UNSUPERVISED.EPS", "0.5", "MODEL.LOSSES.NAME", "('PPLRLoss',)"),
    ),
    _without_labels("hhcl", "HHCL"),
    _adaptive("dbscan_da", "DBSCAN-DA"),
    _adaptive("idm", "IDM"),
    _adaptive("hcd", "HCD"),
    # A teacher that moves within 400 steps, and a memory smaller than the target.
    _adaptive(
        *("unrn", "UNRN"),
        *("MODEL.UNRN.MOMENTUM", "0.99", "MODEL.UNRN.MEMORY", "512", "UNSUPERVISED.PERIOD", "2"),
    ),
    # Around the 80 persons of the target; a ResNet-18 has no non-local blocks.
    _adaptive(
        *("glt", "GLT"),
        *("MODEL.GLT.MOMENTUM", "0.99", "MODEL.GLT.CLUSTERS", "[60, 80, 100]"),
        *("MODEL.BACKBONE.WITH_NL", "False"),
        schedule=_EPOCHS,
    ),
    _adaptive("cacl", "CaCL", uses="source + target + cameras"),
    _labelled("labels", TARGET, "labels"),
)
