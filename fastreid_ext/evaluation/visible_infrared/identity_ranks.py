"""Rank of each query's identity among the identities of the gallery, in compiled code.

Visible-infrared CMC counts identities: an identity of the gallery stands where its nearest image
stands, and its further images do not count. This rank needs the smallest distance of each identity
only, so nothing is sorted.

Letters: R rows (queries) of one chunk, G gallery images, K identities of the gallery.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (numba types arguments)
import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _nearest_match(values, same_pid, camera, gallery_camids):
    """Find the position of the nearest image of another camera, the first of equals; -1 if none."""
    nearest = -1
    for index in same_pid:
        if gallery_camids[index] == camera:
            continue
        if nearest < 0 or values[index] < values[nearest]:
            nearest = index
    return nearest


@numba.njit(cache=True, nogil=True)
def _is_before(values, images, nearest):
    """Tell whether any of the images is ranked before the image ``nearest``."""
    limit = values[nearest]
    for index in images:
        if values[index] < limit or (values[index] == limit and index < nearest):
            return True
    return False


@numba.njit(cache=True, nogil=True)
def identity_ranks(distances, by_pid, bounds, own, query_camids, gallery_camids):
    """Count the ranks (R,) of the queries' identities from 1; 0 without a valid match.

    Images of a query's identity and camera do not count. Equal distances are ranked by gallery
    position.

    Args:
        distances: (R, G) float distances.
        by_pid: (G,) gallery positions sorted by identity, ascending within one.
        bounds: (K + 1,) identity k has the positions ``by_pid[bounds[k] : bounds[k + 1]]``.
        own: (R,) identity of each query among the K; -1 for one that the gallery lacks.
        query_camids: (R,) cameras of the queries.
        gallery_camids: (G,) cameras of the gallery images.
    """
    ranks = np.zeros(len(distances), np.int64)
    for row in range(len(distances)):
        if own[row] < 0:
            continue
        values = distances[row]
        same_pid = by_pid[bounds[own[row]] : bounds[own[row] + 1]]
        nearest = _nearest_match(values, same_pid, query_camids[row], gallery_camids)
        if nearest < 0:
            continue
        ranks[row] = 1
        for identity in range(len(bounds) - 1):
            images = by_pid[bounds[identity] : bounds[identity + 1]]
            if identity != own[row] and _is_before(values, images, nearest):
                ranks[row] += 1
    return ranks
