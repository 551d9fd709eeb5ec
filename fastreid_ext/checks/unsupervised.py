"""Keys of ``UNSUPERVISED``: allowed values, when they are read, and contradictions."""

from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from fastreid_ext.checks.conditions import is_none_of, is_on
from fastreid_ext.checks.losses import architecture
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.unsupervised_methods import method_problems
from fastreid_ext.checks.values import ANYTHING, COUNT, Names, Range
from fastreid_ext.data.cross_modality import CROSS_MODALITY
from fastreid_ext.data.own_sets import unlabelled_names
from fastreid_ext.data.sampler_checks import CAMERA_PROXY, ONCE_PER_IDENTITY
from fastreid_ext.modeling.meta_arch.cluster_baseline import takes_clusters
from fastreid_ext.registries import registered_names

_SECTION = "UNSUPERVISED"
OUTLIERS = ("dropped", "kept")
_OF_IMAGES = ("SpCL", "HCD")
_WITH_MEMORY = ("ClusterContrast", "HHCL", "ICE", "SpCL", "HCD")
# They keep what a clustering has set until the next one, and in checkpoints.
_WITH_PERIODS = ("UNRN",)
_WITH_DBSCAN = is_on(_SECTION) & is_none_of(
    "MODEL.META_ARCHITECTURE", "GLT", instead="set MODEL.GLT.CLUSTERS, the sizes of its k-means"
)
_START = "start from a recipe of projects/Unsupervised/configs"

ROWS: list[Row] = [
    Row(f"{_SECTION}.ENABLED", ANYTHING),
    *rows_of(
        _SECTION,
        is_on(_SECTION),
        K1=(COUNT, _WITH_DBSCAN),
        K2=(COUNT, _WITH_DBSCAN),
        EPS=(
            Range(0, 1, is_above=True, is_below=True, hint="0.4 to 0.7 is usual"),
            _WITH_DBSCAN,
        ),
        MIN_SAMPLES=(COUNT, _WITH_DBSCAN),
        EPS_GAP=(
            Range(0, 1, is_below=True, hint="0.02 is SpCL's, 0 takes all clusters"),
            _WITH_DBSCAN,
        ),
        OUTLIERS=(Names(OUTLIERS), _WITH_DBSCAN),
        PERIOD=(COUNT, is_on(_SECTION) & architecture(*_WITH_PERIODS)),
    ),
]


def unsupervised_problems(cfg: CfgNode) -> list[str]:
    """List keys that contradict training on clusters, each with its remedy."""
    architecture = cfg.MODEL.META_ARCHITECTURE
    kinds = {name: META_ARCH_REGISTRY.get(name) for name in registered_names(META_ARCH_REGISTRY)}
    if architecture not in kinds:  # its own check names the mistake
        return []
    can_take_clusters = takes_clusters(kinds[architecture])
    if cfg.UNSUPERVISED.ENABLED != can_take_clusters:
        known = ", ".join(name for name, kind in kinds.items() if takes_clusters(kind))
        return [
            f"expected UNSUPERVISED.ENABLED True with an architecture that learns from clusters "
            f"({known}), and only with these, got {cfg.UNSUPERVISED.ENABLED} with {architecture}; "
            f"{_START}"
        ]
    return _of_clusters(cfg) if can_take_clusters else []


def _of_clusters(cfg: CfgNode) -> list[str]:
    keys = cfg.UNSUPERVISED
    architecture = cfg.MODEL.META_ARCHITECTURE
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    mixing = [name for name in ("MIXUP", "CUTMIX") if cfg.INPUT[name].ENABLED]
    rules = (
        (
            keys.K2 <= keys.K1,
            f"expected UNSUPERVISED.K2 of at most K1, got {keys.K2} and {keys.K1}; 6 and 30 are "
            "usual",
        ),
        (
            0 < keys.EPS - keys.EPS_GAP and keys.EPS + keys.EPS_GAP < 1,
            f"expected UNSUPERVISED.EPS minus and plus EPS_GAP between 0 and 1, got {keys.EPS} and "
            f"{keys.EPS_GAP}; 0.02 is SpCL's gap",
        ),
        (
            architecture not in _OF_IMAGES or keys.OUTLIERS == "kept",
            f"expected UNSUPERVISED.OUTLIERS kept under {architecture}, whose memory has a class "
            f"for every image, got {keys.OUTLIERS}; {_START}",
        ),
        (
            sampler not in (ONCE_PER_IDENTITY, CROSS_MODALITY),
            f"expected DATALOADER.SAMPLER_TRAIN BalancedIdentitySampler with UNSUPERVISED, got "
            f"{sampler}, which needs the identities of the data",
        ),
        (
            not cfg.DATASETS.GENERATED.BATCH_SHARE,
            "DATASETS.GENERATED.BATCH_SHARE counts original identities, which UNSUPERVISED does "
            "not have; set it to 0",
        ),
        (
            (architecture == "ICE" or not cfg.INPUT.VIEWS.RECIPE) and not mixing,
            f"INPUT.{mixing[0] if mixing else 'VIEWS.RECIPE'} is not made for the labels of "
            "UNSUPERVISED, one cluster for each image; turn it off",
        ),
        (
            not cfg.MODEL.DIFFUSION.ENABLED,
            "MODEL.DIFFUSION has a prompt of each identity, which UNSUPERVISED does not know; set "
            "MODEL.DIFFUSION.ENABLED False",
        ),
        (
            not cfg.TEST.PRECISE_BN.ENABLED,
            "TEST.PRECISE_BN runs training batches, which UNSUPERVISED has only within an epoch; "
            "set TEST.PRECISE_BN.ENABLED False",
        ),
        (
            architecture not in _WITH_MEMORY or _is_tested_with_its_feature(cfg),
            f"expected MODEL.HEADS.NAME EmbeddingHead with NECK_FEAT after under {architecture}, "
            "whose centroids are those of evaluated features, got "
            f"{cfg.MODEL.HEADS.NAME} with {cfg.MODEL.HEADS.NECK_FEAT}",
        ),
    )
    problems = [message for holds, message in rules if not holds]
    return [*problems, *_partly_known_cameras(cfg), *method_problems(cfg)]


def _partly_known_cameras(cfg: CfgNode) -> list[str]:
    """Refuse methods that use cameras where some of the clustered sets have none."""
    without = unlabelled_names(cfg)
    others = [name for name in cfg.DATASETS.NAMES if name not in without]
    users = {
        f"MODEL.LOSSES.NAME {CAMERA_PROXY}": CAMERA_PROXY in cfg.MODEL.LOSSES.NAME,
        "MODEL.META_ARCHITECTURE CaCL": cfg.MODEL.META_ARCHITECTURE == "CaCL",
        "UNSUPERVISED.CURRICULUM": cfg.UNSUPERVISED.CURRICULUM.ENABLED,
    }
    used = [name for name, is_used in users.items() if is_used]
    if not without or not others or not used:
        return []
    return [
        f"{used[0]} uses the cameras of all images, but those of {', '.join(without)} in "
        f"DATASETS.NAMES are not known, beside {', '.join(others)}: they would count as one "
        "camera; give them cameras (a table, docs/datasets.md), or leave these sets or this key out"
    ]


def _is_tested_with_its_feature(cfg: CfgNode) -> bool:
    heads = cfg.MODEL.HEADS
    known = ("BeforeNeckHead", "ClasHead", "BDBHead", "ProjectionHead")
    return heads.NECK_FEAT == "after" and heads.NAME not in known
