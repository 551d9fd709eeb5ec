"""Keys of ``GENERATION.POSE_GUIDED``: allowed values, and when they are read."""

from fastreid.config import CfgNode

from fastreid_ext.checks.conditions import is_any_of
from fastreid_ext.checks.generation import LatentSize
from fastreid_ext.checks.row import Row, rows_of
from fastreid_ext.checks.values import ANYTHING, AT_LEAST_0, COUNT, SHARE, Names, Range

COMBINATIONS = ("concat", "sum", "joint")
PAIRS = ("identity", "frames")
_SECTION = "GENERATION.POSE_GUIDED"
_NEW = is_any_of(f"{_SECTION}.START", "")

ROWS: list[Row] = rows_of(
    _SECTION,
    START=ANYTHING,
    IMAGE_ENCODER=(ANYTHING, _NEW),
    CONTROLNET=(ANYTHING, _NEW),
    COMBINE=(Names(COMBINATIONS), _NEW),
    RANDOM_UNETS=(ANYTHING, _NEW),
    BODY_MODEL=ANYTHING,
    FITS=ANYTHING,
    SIZE=LatentSize((2,), COUNT, "[height, width] in pixels", whole=True),
    PAIRS=Names(PAIRS),
    MIN_GAP=(COUNT, is_any_of(f"{_SECTION}.PAIRS", "frames")),
    CROPS=COUNT,
    CROP_SCALE=Range(0, 1, is_above=True),
    BATCH_SIZE=COUNT,
    ITERATIONS=COUNT,
    BASE_LR=Range(0, 1, is_above=True, hint="at 0 no weight would change"),
    WEIGHT_DECAY=SHARE,
    MAX_GRAD_NORM=AT_LEAST_0,
    DROP_CONDITION=Range(0, 1, is_below=True),
    ZERO_SNR=(ANYTHING, _NEW),
    MIN_SNR=AT_LEAST_0,
    EMA=Range(0, 1, is_below=True),
    GRADIENT_CHECKPOINTING=ANYTHING,
    WORKERS=AT_LEAST_0,
    CHECKPOINT_PERIOD=COUNT,
    SAMPLE_PERIOD=COUNT,
)


def training_problems(cfg: CfgNode) -> list[str]:
    """List the requirements of a training that the configuration does not meet, with the remedy."""
    problems = []
    if not cfg.DATASETS.NAMES:
        problems.append("DATASETS.NAMES is empty; name the data sets to train the generator on")
    if not cfg.OUTPUT_DIR:
        problems.append("OUTPUT_DIR is empty; name the folder in which everything is written")
    if cfg.GENERATION.DTYPE == "float16":
        problems.append(
            "GENERATION.DTYPE is float16, in which small gradients become 0; set it to bfloat16, "
            "which costs the same, or float32"
        )
    return problems
