"""Data sets of the rendered benchmark that tools/render_persons.py writes."""

import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.datasets.market_folder import MarketFolder
from fastreid_ext.data.visible_infrared import VisibleInfraredTest


class _Rendered(MarketFolder):
    """Rendered domain in the folder ``<root>/<class name>``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Derive folder, name and advice from the class name."""
        super().__init_subclass__(**kwargs)
        cls.dataset_dir = cls.__name__
        cls.dataset_name = cls.__name__.lower()
        cls.advice = (
            f"make it with: python tools/render_persons.py --domain {cls.__name__} --root {{root}}"
        )


@DATASET_REGISTRY.register()
class RenderedCampus(_Rendered):
    """Rendered campus with six cameras."""


@DATASET_REGISTRY.register()
class RenderedMall(_Rendered):
    """Rendered mall with six cameras."""


@DATASET_REGISTRY.register()
class RenderedStation(_Rendered):
    """Rendered station with six cameras."""


@DATASET_REGISTRY.register()
class RenderedStreet(_Rendered):
    """Rendered street with six cameras."""


@DATASET_REGISTRY.register()
class RenderedVI(_Rendered):
    """Rendered visible cameras 1, 2, 4, 5 (gallery) and infrared cameras 3, 6 (queries).

    It is tested by the rule of SYSU-MM01, all-search.
    """

    visible_infrared_test = VisibleInfraredTest("sysu", "infrared_to_visible")

    @staticmethod
    def modality_of(path: str) -> int:
        """Return 1 for an infrared image, 0 for a visible one."""
        return int(re.search(r"_c(\d+)", Path(path).name)[1] in ("3", "6"))
