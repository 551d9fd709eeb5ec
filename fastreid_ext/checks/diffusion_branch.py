"""Keys of ``MODEL.DIFFUSION``: allowed values, when they are read, and contradictions."""

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import is_any_of, is_on
from fastreid_ext.checks.generation import DTYPES
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, COUNT, Names, Range

# As in fastreid_ext.modeling.diffusion_branch, which needs diffusers; a test compares them.
UNETS = ("frozen", "lora", "partial1", "partial2", "full", "scratch")
CONDITIONS = ("correlation", "class", "instance")
BOTTLENECKS = ("identity", "silu", "bn", "bn_silu", "condition_net")
TARGETS = ("noise", "latent")

_ON = is_on("MODEL.DIFFUSION")
_FROM_FILE = is_any_of("MODEL.DIFFUSION.RANDOM_WEIGHTS", False)
# Architectures whose head has one classifier, and so one feature for the instance-wise condition.
_ONE_FEATURE = ("Baseline", "PrototypeBaseline", "MoCo", "Distiller")
_SEVERAL_FEATURES = ("MGN", "BDB")

ROWS: list[Row] = [
    Row("MODEL.DIFFUSION.ENABLED", ANYTHING),
    *rows_of(
        "MODEL.DIFFUSION",
        _ON,
        SCALE=AT_LEAST_0,
        BASE_MODEL=ANYTHING,
        REVISION=(ANYTHING, _ON & _FROM_FILE),
        DOWNLOAD=(ANYTHING, _ON & _FROM_FILE),
        RANDOM_WEIGHTS=ANYTHING,
        UNET=Names(UNETS),
        RANK=(COUNT, _ON & is_any_of("MODEL.DIFFUSION.UNET", "lora")),
        CONDITION=Names(CONDITIONS),
        TEMPERATURE=(
            Range(0, is_above=True, hint="0.6 is DCAC's for Market-1501"),
            _ON & is_any_of("MODEL.DIFFUSION.CONDITION", "correlation"),
        ),
        BOTTLENECK=Names(BOTTLENECKS),
        TARGET=Names(TARGETS),
        LATENT_CACHE=ANYTHING,
        DTYPE=Names(DTYPES),
        SINGLE_TOKEN_ATTENTION=ANYTHING,
        CHANNELS_LAST=ANYTHING,
        COMPILE=ANYTHING,
    ),
]


def diffusion_problems(cfg: CfgNode) -> list[str]:
    """List contradictions between ``MODEL.DIFFUSION`` and other keys, each with its remedy."""
    keys = cfg.MODEL.DIFFUSION
    if not keys.ENABLED:
        return []
    size = list(cfg.INPUT.CLEAN_VIEW.SIZE)
    architecture = cfg.MODEL.META_ARCHITECTURE
    shows_views = cfg.INPUT.VIEWS.RECIPE or cfg.INPUT.MIXUP.ENABLED or cfg.INPUT.CUTMIX.ENABLED
    rules = (
        (
            bool(size),
            "MODEL.DIFFUSION denoises a clean view of each image, but INPUT.CLEAN_VIEW.SIZE is "
            "empty; set it to [128, 128], as in DCAC",
        ),
        (
            not any(side % 8 for side in size),
            "expected INPUT.CLEAN_VIEW.SIZE of multiples of 8 under MODEL.DIFFUSION, the step of "
            f"Stable Diffusion's latents, got {size}",
        ),
        (
            not shows_views,
            "MODEL.DIFFUSION has one clean view of each image, which fits neither INPUT.VIEWS nor "
            "INPUT.MIXUP nor INPUT.CUTMIX; turn these off",
        ),
        (
            not cfg.SOLVER.EMA.DECAY,
            "SOLVER.EMA would keep a second copy of the whole diffusion model under "
            "MODEL.DIFFUSION; set SOLVER.EMA.DECAY 0",
        ),
        (
            architecture not in _SEVERAL_FEATURES or keys.CONDITION != "instance",
            f"MODEL.DIFFUSION.CONDITION instance needs one feature of an image, {architecture} has "
            f"several; take correlation, or one of {', '.join(_ONE_FEATURE)}",
        ),
        (
            architecture not in ("ContrastivePretrain", "SimCLRPretrain", "BYOLPretrain"),
            f"MODEL.DIFFUSION needs logits of training identities, which {architecture} does not "
            "have; set MODEL.DIFFUSION.ENABLED False",
        ),
        (
            not cfg.TEST.PRECISE_BN.ENABLED,
            "TEST.PRECISE_BN runs training batches, which would pass the diffusion branch without "
            "a step; set TEST.PRECISE_BN.ENABLED False",
        ),
    )
    return [message for holds, message in rules if not holds]
