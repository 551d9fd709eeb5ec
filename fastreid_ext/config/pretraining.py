"""Keys that pre-training by classification needs beside fastreid's."""

from fastreid.config import CfgNode


def add_pretraining_keys(cfg: CfgNode) -> None:
    """Add ``SOLVER.WARMUP_EPOCHS`` and ``INPUT.RANDAUGMENT.TIMM``; after the augmentation keys."""
    # Epochs of warm-up, whatever the size of the training set; > 0 takes the place of WARMUP_ITERS.
    # The rate still rises with each iteration.
    cfg.SOLVER.WARMUP_EPOCHS = 0
    # timm's RandAugment in the place of torchvision's, as timm writes it, "rand-m9-mstd0.5-inc1"
    # for example: magnitude 9 of 10 with deviation 0.5, stronger with it, two operations, each left
    # out with probability 0.5. "" = torchvision's, with OPERATIONS and MAGNITUDE (of 30).
    cfg.INPUT.RANDAUGMENT.TIMM = ""
