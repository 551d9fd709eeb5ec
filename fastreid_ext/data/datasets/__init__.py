"""Data sets registered in fastreid's ``DATASET_REGISTRY``."""

from fastreid_ext.data.datasets import ten_splits
from fastreid_ext.data.datasets.cuhk02 import CUHK02
from fastreid_ext.data.datasets.cuhk03 import CUHK03Detected, CUHK03Labeled
from fastreid_ext.data.datasets.generated_persons import GeneratedPersons
from fastreid_ext.data.datasets.person_folder import PersonFolder
from fastreid_ext.data.datasets.person_table import PersonTable
from fastreid_ext.data.datasets.person_x import PersonX
from fastreid_ext.data.datasets.rendered_persons import (
    RenderedCampus,
    RenderedMall,
    RenderedStation,
    RenderedStreet,
    RenderedVI,
)
from fastreid_ext.data.datasets.scene_cameras import ClonedPerson, RandPerson
from fastreid_ext.data.datasets.unlabelled_persons import UnlabelledPersons

__all__ = [
    "CUHK02",
    "CUHK03Detected",
    "CUHK03Labeled",
    "ClonedPerson",
    "GeneratedPersons",
    "PersonFolder",
    "PersonTable",
    "PersonX",
    "RandPerson",
    "RenderedCampus",
    "RenderedMall",
    "RenderedStation",
    "RenderedStreet",
    "RenderedVI",
    "UnlabelledPersons",
    "ten_splits",
]
