"""Keys of the fast way from image files to batches, and what can be wrong with them."""

from pathlib import Path

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


def fast_path_problems(cfg: CfgNode) -> list[str]:
    """Return what is wrong with the folder of packed sets."""
    folder = cfg.DATALOADER.PACKED_CACHE
    if folder and Path(folder).exists() and not Path(folder).is_dir():
        return [
            f"DATALOADER.PACKED_CACHE {folder} is a file; give a folder (it may not exist yet), or "
            "an empty name to work without packed sets"
        ]
    return []
