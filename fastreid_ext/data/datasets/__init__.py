"""Data sets registered in fastreid's ``DATASET_REGISTRY``."""

from fastreid_ext.data.datasets import regdb, ten_splits
from fastreid_ext.data.datasets.cuhk02 import CUHK02
from fastreid_ext.data.datasets.cuhk03 import CUHK03Detected, CUHK03Labeled
from fastreid_ext.data.datasets.generated_persons import GeneratedPersons
from fastreid_ext.data.datasets.llcm import (
    LLCM,
    LLCM_drawn_infrared_to_visible,
    LLCM_infrared_to_visible,
    LLCM_visible_to_infrared,
)
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
from fastreid_ext.data.datasets.sysu_mm01 import SYSUMM01, SYSUMM01Indoor
from fastreid_ext.data.datasets.unlabelled_persons import UnlabelledPersons

__all__ = [
    "CUHK02",
    "LLCM",
    "SYSUMM01",
    "CUHK03Detected",
    "CUHK03Labeled",
    "ClonedPerson",
    "GeneratedPersons",
    "LLCM_drawn_infrared_to_visible",
    "LLCM_infrared_to_visible",
    "LLCM_visible_to_infrared",
    "PersonFolder",
    "PersonTable",
    "PersonX",
    "RandPerson",
    "RenderedCampus",
    "RenderedMall",
    "RenderedStation",
    "RenderedStreet",
    "RenderedVI",
    "SYSUMM01Indoor",
    "UnlabelledPersons",
    "regdb",
    "ten_splits",
]
