"""Keys of the fast way from image files to batches."""

from fastreid.config import CfgNode
from fastreid.config import CfgNode as CN


def add_fast_path_keys(cfg: CfgNode) -> None:
    """Add the keys beside fastreid's in ``INPUT`` and ``DATALOADER``."""
    cfg.INPUT.FAST_PATH = CN()
    # Decode, resize, pad, crop, mirror and erase with compiled code, in training and tests. Batches
    # are the same to the last bit; False takes Pillow and torchvision, several times slower.
    cfg.INPUT.FAST_PATH.ENABLED = True
    # Folder for packed sets: the decoded images of a data set, one after the other in one file,
    # which later runs (and all processes) map into memory instead of decoding again. Written at
    # the first start, again when an image file changed. "": no such files.
    cfg.DATALOADER.PACKED_CACHE = ""
