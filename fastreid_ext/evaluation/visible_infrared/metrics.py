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


def sysu_metrics(
    query_features: Tensor | ArrayLike,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_features: Tensor | ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
    gallery_draws: Sequence[ArrayLike],
    *,
    search: Search = "all",
) -> DrawMetrics:
    """Evaluate SYSU-MM01 [0]: infrared queries, drawn visible galleries.

    Cameras 2 and 3 are one location: queries of camera 3 do not see images of camera 2, whatever
    their identity.

    Args:
        query_features: (Q, D) finite features of the infrared queries.
        query_pids: (Q,) identities of the queries.
        query_camids: (Q,) cameras of the queries as the set numbers them: 3 or 6.
        gallery_features: (G, D) finite features of the visible images.
        gallery_pids: (G,) identities of the visible images.
        gallery_camids: (G,) cameras of the visible images: 1, 2, 4 or 5.
        gallery_draws: gallery positions of each trial; see :mod:`.gallery_draws`.
        search: "all" ranks the drawn images of cameras 1, 2, 4 and 5, "indoor" those of 1 and 2.

    Raises:
        ValueError: cameras are of the wrong modality, so that directions are swapped; or see
            :func:`.drawn_ranking.ranked_draws`.
    """
    if search not in SYSU_VISIBLE:
        raise ValueError(f"unknown search {search!r}; known: {', '.join(get_args(Search))}")
    labels = RankLabels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
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
    return ranked_draws(query_features, gallery_features, labels, trials)


def regdb_metrics(
    query_features: Tensor | ArrayLike,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_features: Tensor | ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
    *,
    direction: Direction,
) -> DrawMetrics:
    """Evaluate one of RegDB's ten splits [1] in one direction; the whole gallery is one draw.

    Args:
        query_features: (Q, D) finite features of the queries.
        query_pids: (Q,) identities of the queries.
        query_camids: (Q,) cameras of the queries: 1 visible, 2 infrared.
        gallery_features: (G, D) finite features of the gallery.
        gallery_pids: (G,) identities of the gallery images.
        gallery_camids: (G,) cameras of the gallery images: 1 visible, 2 infrared.
        direction: "visible_to_infrared" or "infrared_to_visible"; the first is the query's.

    Raises:
        ValueError: the cameras are not those of the direction.
    """
    if direction not in get_args(Direction):
        known = ", ".join(get_args(Direction))
        raise ValueError(f"unknown direction {direction!r}; known: {known}")
    labels = RankLabels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
    query, _, gallery = direction.partition("_to_")
    _expect_cameras("query", labels.query_camids, (REGDB_CAMERAS[query],), query)
    _expect_cameras("gallery", labels.gallery_camids, (REGDB_CAMERAS[gallery],), gallery)
    whole = Draw(np.arange(len(labels.gallery_pids)), np.arange(len(labels.query_pids)))
    return ranked_draws(query_features, gallery_features, labels, [[whole]], collapse=False)


def llcm_metrics(
    query_features: Tensor | ArrayLike,
    query_pids: ArrayLike,
    query_camids: ArrayLike,
    gallery_features: Tensor | ArrayLike,
    gallery_pids: ArrayLike,
    gallery_camids: ArrayLike,
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
        query_features: (Q, D) finite features of the queries.
        query_pids: (Q,) identities of the queries.
        query_camids: (Q,) cameras of the queries, 1 to 9.
        gallery_features: (G, D) finite features of the gallery.
        gallery_pids: (G,) identities of the gallery images.
        gallery_camids: (G,) cameras of the gallery images, 1 to 9.
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
    labels = RankLabels.checked(query_pids, gallery_pids, query_camids, gallery_camids)
    gallery = np.arange(len(labels.gallery_pids))
    queries = np.arange(len(labels.query_pids))
    if gallery_draws is not None:
        drawn = [_positions(draw, len(gallery)) for draw in gallery_draws]
        for draw in drawn:
            _expect_one_each(
                "gallery_draws", labels.gallery_pids[draw], labels.gallery_camids[draw]
            )
        trials = [[Draw(draw, queries)] for draw in drawn]
    else:
        drawn = [np.sort(_positions(draw, len(queries))) for draw in query_draws]
        for draw in drawn:
            _expect_one_each("query_draws", labels.query_pids[draw], labels.query_camids[draw])
        trials = [[Draw(gallery, draw)] for draw in drawn]
    return ranked_draws(query_features, gallery_features, labels, trials)


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


def _expect_one_each(what: str, pids: NDArray[np.int64], camids: NDArray[np.int64]) -> None:
    pairs = np.stack([pids, camids])
    if np.unique(pairs, axis=1).shape[1] != len(pids):
        raise ValueError(
            f"expected one image of each identity and camera in a trial of {what}, got several; "
            "are query and gallery swapped, or is another set drawn?"
        )
