"""Mistakes in the keys of Batch DropBlock and of what came with it: Cut-out, stairs, sampler."""

from fastreid.config import CfgNode

ONCE_PER_IDENTITY = "OncePerIdentitySampler"
STAIRS = "StairWarmupLR"

# Keys of MODEL.HEADS that BDBHead does not read, at the value that means nothing else.
_WITHOUT_MEANING = {
    "WITH_BNNECK": False,
    "NECK_FEAT": "before",
    "POOL_LAYER": "GlobalAvgPool",
    "CLS_LAYER": "Linear",
    "EMBEDDING_DIM": 0,
    "SCALE": 1,
    "MARGIN": 0.0,
}


def bdb_problems(cfg: CfgNode) -> list[str]:
    """Return what contradicts itself or would have no effect, each with what to do."""
    return [*_head(cfg), *_ratios(cfg), *_cutout(cfg), *_stairs(cfg)]


def _head(cfg: CfgNode) -> list[str]:
    architecture, heads = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS
    is_bdb = heads.NAME == "BDBHead"
    if (architecture == "BDB" and not is_bdb) or (is_bdb and architecture in ("Baseline", "MGN")):
        return [
            "expected MODEL.META_ARCHITECTURE BDB and MODEL.HEADS.NAME BDBHead together, got "
            f"{architecture} and {heads.NAME}; start from configs/Base-BDB.yml"
        ]
    return [
        f"MODEL.HEADS.{key} is {heads[key]} but BDBHead does not read it; set it to {value}"
        for key, value in _WITHOUT_MEANING.items()
        if is_bdb and heads[key] != value
    ]


def _ratios(cfg: CfgNode) -> list[str]:
    keys = cfg.MODEL.HEADS.BDB
    problems = [
        f"expected MODEL.HEADS.BDB.{key} in (0, 1], got {keys[key]}"
        for key in ("DROP_HEIGHT", "DROP_WIDTH")
        if not 0 < keys[key] <= 1
    ]
    problems += [
        f"expected MODEL.HEADS.BDB.{key} of at least 1, got {keys[key]}"
        for key in ("GLOBAL_DIM", "PART_DIM")
        if keys[key] < 1
    ]
    if keys.DROP_HEIGHT == keys.DROP_WIDTH == 1:
        problems.append(
            "MODEL.HEADS.BDB.DROP_HEIGHT and DROP_WIDTH of 1 drop the whole feature map; "
            "lower one of them"
        )
    return problems


def _cutout(cfg: CfgNode) -> list[str]:
    cutout, image = cfg.INPUT.CUTOUT, list(cfg.INPUT.SIZE_TRAIN)
    problems = []
    if not 0 <= cutout.PROB <= 1:
        problems.append(f"expected INPUT.CUTOUT.PROB in [0, 1], got {cutout.PROB}")
    size = list(cutout.SIZE)
    if len(size) != 2 or min(size) < 1:
        problems.append(f"expected INPUT.CUTOUT.SIZE [rows, columns] of at least 1, got {size}")
    elif cutout.ENABLED and len(image) == 2 and not (size[0] < image[0] and size[1] < image[1]):
        problems.append(
            f"expected INPUT.CUTOUT.SIZE smaller than the image (INPUT.SIZE_TRAIN {image}), got "
            f"{size}; lower it in proportion, [64, 64] is for [384, 128]"
        )
    return problems


def _stairs(cfg: CfgNode) -> list[str]:
    solver = cfg.SOLVER
    if solver.SCHED != STAIRS:
        return []
    problems = [
        f"expected SOLVER.STAIRS.{key} of at least 1, got {solver.STAIRS[key]}"
        for key in ("COUNT", "EPOCHS")
        if solver.STAIRS[key] < 1
    ]
    problems += [
        f"SOLVER.SCHED {STAIRS} warms up itself, from the first epoch on, but SOLVER.{key} is "
        f"{solver[key]}; set it to 0"
        for key in ("WARMUP_ITERS", "DELAY_EPOCHS")
        if solver[key] > 0
    ]
    return problems
