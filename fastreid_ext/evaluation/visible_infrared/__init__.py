"""Evaluation of visible-infrared Re-ID: SYSU-MM01, RegDB and LLCM on arrays of features.

Example::

    found = sysu_metrics(
        query, query_pids, query_cameras, gallery, gallery_pids, gallery_cameras, draws
    )
    found.cmc[0], found.mAP, found.mAP_per_draw.std()
"""

from fastreid_ext.evaluation.visible_infrared.drawn_ranking import DrawMetrics
from fastreid_ext.evaluation.visible_infrared.gallery_draws import (
    official_draws,
    read_permutations,
    seeded_draws,
)
from fastreid_ext.evaluation.visible_infrared.metrics import (
    llcm_metrics,
    regdb_metrics,
    sysu_metrics,
)

__all__ = [
    "DrawMetrics",
    "llcm_metrics",
    "official_draws",
    "read_permutations",
    "regdb_metrics",
    "seeded_draws",
    "sysu_metrics",
]
