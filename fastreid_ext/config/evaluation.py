"""Ranges of what the evaluation reads: a mistake must not wait for the end of a training."""

from fastreid.config import CfgNode


def evaluation_problems(cfg: CfgNode) -> list[str]:
    """Return what is wrong with the keys of TEST and the numbers of loader processes."""
    expected: dict[str, tuple[float, float]] = {  # key: smallest and largest value
        "DATALOADER.NUM_WORKERS": (0, float("inf")),
        "TEST.NUM_WORKERS": (0, float("inf")),
        "TEST.IMS_PER_BATCH": (1, float("inf")),
    }
    if cfg.TEST.RERANK.ENABLED:
        expected |= {
            "TEST.RERANK.K1": (1, float("inf")),
            "TEST.RERANK.K2": (1, float("inf")),
            "TEST.RERANK.LAMBDA": (0, 1),
        }
    if cfg.TEST.AQE.ENABLED:
        expected |= {"TEST.AQE.QE_K": (1, float("inf")), "TEST.AQE.QE_TIME": (1, float("inf"))}
    problems = []
    if cfg.TEST.RERANK.RULE not in ("evaluator", "released"):
        problems.append(
            f"unknown TEST.RERANK.RULE {cfg.TEST.RERANK.RULE!r}; known: evaluator, released"
        )
    return problems + [
        f"expected {key} {_range(least, most)}, got {value}"
        for key, (least, most) in expected.items()
        if not least <= (value := _value(cfg, key)) <= most
    ]


def _value(cfg: CfgNode, key: str) -> float:
    node = cfg
    for part in key.split("."):
        node = node[part]
    return node


def _range(least: float, most: float) -> str:
    return f"of at least {least}" if most == float("inf") else f"in [{least}, {most}]"
