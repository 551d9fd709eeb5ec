"""Fill in the automatic values of a configuration, which config/defaults.py explains."""

from fastreid.config import CfgNode

from fastreid_ext.checks.backbone import fill_in_backbone


def fill_in(cfg: CfgNode) -> None:
    """Replace automatic values that need no data by the values that will be used, in place."""
    fill_in_backbone(cfg)
    if cfg.SOLVER.AMP.ENABLED:
        cfg.SOLVER.AMP.DTYPE = amp_dtype(cfg)


def amp_dtype(cfg: CfgNode) -> str:
    """Return ``SOLVER.AMP.DTYPE``; "" becomes bfloat16 on the CPU and float16 elsewhere.

    float16 is fastreid's dtype on a GPU; on a CPU it takes many times as long as float32.
    """
    if cfg.SOLVER.AMP.DTYPE:
        return cfg.SOLVER.AMP.DTYPE
    return "bfloat16" if cfg.MODEL.DEVICE == "cpu" else "float16"
