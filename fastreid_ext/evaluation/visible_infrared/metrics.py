"""Rules of SYSU-MM01, RegDB and LLCM on arrays of features.

Similarity is the cosine. AP and INP are per image. CMC counts identities in SYSU-MM01 and LLCM and
images in RegDB, as the published code does. Published tables differ in the feature (before or after
the neck), so say which one it was.

Letters: Q queries, G gallery images, D feature dimension, T draws.

[0] Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017 (SYSU-MM01)
[1] Nguyen et al., "Person Recognition System Based on a Combination of Body Images from Visible
    Light and Thermal Cameras", Sensors 2017 (RegDB)
[2] Zhang and Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark",
    CVPR 2023 (LLCM); https://github.com/ZYK100/LLCM
[3] https://github.com/mangye16/Cross-Modal-Re-ID-baseline (the rules as most papers run them)
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fastreid_ext.evaluation.rank_labels import RankLabels
from fastreid_ext.evaluation.visible_infrared.drawn_ranking import (
    Draw,
    DrawMetrics,
    ranked_draws,
)

Search = Literal["all", "indoor"]
Direction = Literal["visible_to_infrared", "infrared_to_visible"]
SYSU_INFRARED = (3, 6)
SYSU_VISIBLE: dict[str, tuple[int, ...]] = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
REGDB_CAMERAS = {"visible": 1, "infrared": 2}
# A query of the first camera does not see gallery images of the second: one location.
_SAME_PLACE = (3, 2)


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledFeatures:
    """Features of all queries, or of all gallery images, with their labels.

    Attributes:
        features: (N, D) finite features.
        pids: (N,) identities, any whole numbers.
        camids: (N,) cameras as the data set numbers them, from 1.
    """

    features: Tensor | ArrayLike
    pids: ArrayLike
    camids: ArrayLike


def sysu_metrics(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    gallery_draws: Sequence[ArrayLike],
    *,
    search: Search = "all",
) -> DrawMetrics:
    """Evaluate SYSU-MM01 [0]: infrared queries, drawn visible galleries.

    Cameras 2 and 3 are one location: queries of camera 3 do not see images of camera 2, whatever
    their identity.

    Args:
        query: infrared queries, whose cameras are 3 and 6 as the set numbers them.
        gallery: visible images of cameras 1, 2, 4 and 5.
        gallery_draws: gallery positions of each trial; see :mod:`.gallery_draws`.
        search: "all" ranks the drawn images of cameras 1, 2, 4 and 5, "indoor" those of 1 and 2.

    Raises:
        ValueError: cameras are of the wrong modality, so that directions are swapped; or see
            :func:`.drawn_ranking.ranked_draws`.
    """
    if search not in SYSU_VISIBLE:
        raise ValueError(f"unknown search {search!r}; known: {', '.join(get_args(Search))}")
    labels = _labels(query, gallery)
    _expect_cameras("query", labels.query_camids, SYSU_INFRARED, "infrared")
    _expect_cameras("gallery", labels.gallery_camids, SYSU_VISIBLE["all"], "visible")
    sees_less = labels.query_camids == _SAME_PLACE[0]
    trials = []
    for draw in gallery_draws:
        rows = _positions(draw, len(labels.gallery_pids))
        cameras = labels.gallery_camids[rows]
        searched = np.isin(cameras, SYSU_VISIBLE[search])
        elsewhere = searched & (cameras != _SAME_PLACE[1])
        parts = [
            Draw(rows[searched], np.flatnonzero(~sees_less)),
            Draw(rows[elsewhere], np.flatnonzero(sees_less)),
        ]
        trials.append([part for part in parts if len(part.queries)])
    return ranked_draws(query.features, gallery.features, labels, trials)


def regdb_metrics(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    *,
    direction: Direction,
) -> DrawMetrics:
    """Evaluate one of RegDB's ten splits [1] in one direction; the whole gallery is one draw.

    Args:
        query: query images of one modality; camera 1 is visible, 2 infrared.
        gallery: gallery images of the other modality.
        direction: "visible_to_infrared" or "infrared_to_visible"; the first is the query's.

    Raises:
        ValueError: the cameras are not those of the direction.
    """
    if direction not in get_args(Direction):
        known = ", ".join(get_args(Direction))
        raise ValueError(f"unknown direction {direction!r}; known: {known}")
    labels = _labels(query, gallery)
    own, _, other = direction.partition("_to_")
    _expect_cameras("query", labels.query_camids, (REGDB_CAMERAS[own],), own)
    _expect_cameras("gallery", labels.gallery_camids, (REGDB_CAMERAS[other],), other)
    whole = Draw(np.arange(len(labels.gallery_pids)), np.arange(len(labels.query_pids)))
    return ranked_draws(query.features, gallery.features, labels, [[whole]], collapse=False)


def llcm_metrics(
    query: LabelledFeatures,
    gallery: LabelledFeatures,
    gallery_draws: Sequence[ArrayLike] | None = None,
    *,
    query_draws: Sequence[ArrayLike] | None = None,
) -> DrawMetrics:
    """Evaluate LLCM [2]: all images of one modality query one image per identity and camera.

    Gallery images of a query's identity and camera are ignored: the nine cameras see both
    modalities.

    The released code draws infrared images for its mode [2, 1], "visible to infrared", and then
    swaps roles: the drawn images query all visible ones. ``query_draws`` computes that.

    Args:
        query: query images of one modality, of cameras 1 to 9.
        gallery: gallery images of the other modality, of cameras 1 to 9.
        gallery_draws: gallery positions of each trial.
        query_draws: in place of ``gallery_draws``, query positions of each trial.

    Raises:
        ValueError: both or neither of the draws are given, or a draw has several images of an
            identity and camera, as it has if the sides are swapped.
    """
    if (gallery_draws is None) == (query_draws is None):
        raise ValueError(
            "expected one of gallery_draws and query_draws, got both or neither; the side that is "
            "drawn is the gallery, in the released code's mode [2, 1] the query"
        )
    labels = _labels(query, gallery)
    whole = Draw(np.arange(len(labels.gallery_pids)), np.arange(len(labels.query_pids)))
    if gallery_draws is not None:
        of_gallery = (labels.gallery_pids, labels.gallery_camids)
        drawn = _one_of_each("gallery_draws", gallery_draws, *of_gallery)
        trials = [[Draw(rows, whole.queries)] for rows in drawn]
    else:
        of_queries = (labels.query_pids, labels.query_camids)
        drawn = _one_of_each("query_draws", query_draws, *of_queries)
        trials = [[Draw(whole.gallery, np.sort(rows))] for rows in drawn]
    return ranked_draws(query.features, gallery.features, labels, trials)


def _labels(query: LabelledFeatures, gallery: LabelledFeatures) -> RankLabels:
    return RankLabels.checked(query.pids, gallery.pids, query.camids, gallery.camids)


def _positions(draw: ArrayLike, count: int) -> NDArray[np.int64]:
    rows = np.asarray(draw)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"expected draws of positions (n,), got shape {rows.shape} of {rows.dtype}; give an "
            "array of whole numbers for each trial"
        )
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise ValueError(
            f"expected draws of positions 0 to {count - 1}, got {rows.min()} to {rows.max()}; draw "
            "from these images"
        )
    return rows.astype(np.int64)


def _expect_cameras(
    side: str, camids: NDArray[np.int64], allowed: tuple[int, ...], modality: str
) -> None:
    others = np.setdiff1d(camids, allowed)
    if len(others):
        raise ValueError(
            f"expected {side} images of {modality} cameras {', '.join(map(str, allowed))}, got "
            f"cameras {', '.join(map(str, others))}; are query and gallery swapped?"
        )


def _one_of_each(
    what: str, draws: Sequence[ArrayLike], pids: NDArray[np.int64], camids: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Check that each draw has one image of an identity and camera."""
    trials = [_positions(draw, len(pids)) for draw in draws]
    for rows in trials:
        pairs = np.stack([pids[rows], camids[rows]])
        if np.unique(pairs, axis=1).shape[1] != len(rows):
            raise ValueError(
                f"expected one image of each identity and camera in a trial of {what}, got "
                "several; are query and gallery swapped, or is another set drawn?"
            )
    return trials
