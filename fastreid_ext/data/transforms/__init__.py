"""Transforms of single images and of batches: fastreid's and ours."""

from fastreid_ext.data.transforms.build import build_transforms
from fastreid_ext.data.transforms.cutout import Cutout

__all__ = ["Cutout", "build_transforms"]
