"""Choose the dtype of mixed precision where the configuration leaves it open."""

from fastreid.config import CfgNode


def amp_dtype(cfg: CfgNode) -> str:
    """Return ``SOLVER.AMP.DTYPE``; where it is "", bfloat16 on the CPU and float16 elsewhere.

    float16 is fastreid's dtype on a GPU; on a CPU it takes many times as long as float32.
    """
    if cfg.SOLVER.AMP.DTYPE:
        return cfg.SOLVER.AMP.DTYPE
    return "bfloat16" if cfg.MODEL.DEVICE == "cpu" else "float16"


def fill_in_amp_dtype(cfg: CfgNode) -> None:
    """Set ``SOLVER.AMP.DTYPE`` to what mixed precision will use, in place; "" without it."""
    if cfg.SOLVER.AMP.ENABLED:
        cfg.SOLVER.AMP.DTYPE = amp_dtype(cfg)
