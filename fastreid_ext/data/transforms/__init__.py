"""What is done to an image before it enters a batch: fastreid's transforms and ours."""

from fastreid_ext.data.transforms.build import build_transforms
from fastreid_ext.data.transforms.cutout import Cutout

__all__ = ["Cutout", "build_transforms"]
