"""Data sets registered in fastreid's DATASET_REGISTRY."""

from fastreid_ext.data.datasets.cuhk03 import CUHK03Detected
from fastreid_ext.data.datasets.generated_persons import GeneratedPersons
from fastreid_ext.data.datasets.rendered_persons import (
    RenderedCampus,
    RenderedMall,
    RenderedStation,
    RenderedStreet,
    RenderedVI,
)

__all__ = [
    "CUHK03Detected",
    "GeneratedPersons",
    "RenderedCampus",
    "RenderedMall",
    "RenderedStation",
    "RenderedStreet",
    "RenderedVI",
]
