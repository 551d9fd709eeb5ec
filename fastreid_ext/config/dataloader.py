"""Keys of ``DATALOADER``."""

from fastreid.config import CfgNode


def add_dataloader_keys(dataloader: CfgNode) -> None:
    """Add our keys to ``DATALOADER``."""
    # Folder of packed sets: all decoded images of a data set in one file, which later runs and all
    # processes map into memory instead of decoding again. Written at the first start, and again
    # when an image file has changed. "" = no packed sets.
    dataloader.PACKED_CACHE = ""
    # Domains of which DomainBalancedSampler, and MetaBIN's steps, take equally many persons: the
    # "sets" of DATASETS.NAMES, or "cameras".
    dataloader.DOMAINS = "sets"
