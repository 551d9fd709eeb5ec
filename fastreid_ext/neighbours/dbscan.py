"""DBSCAN clusters of images from sparse distances."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fastreid_ext.neighbours.jaccard import TOLERANCE


def dbscan_labels(
    distances: scipy.sparse.sparray | scipy.sparse.spmatrix, *, eps: float, min_samples: int = 4
) -> NDArray[np.int64]:
    """Cluster images by DBSCAN, through scikit-learn.

    Two images are neighbours if their distance is at most ``eps``, up to a rounding error of
    :data:`~fastreid_ext.neighbours.jaccard.TOLERANCE`. A missing entry means a larger distance, a
    stored 0 a distance of 0.

    Example:
        >>> distances = scipy.sparse.csr_array(np.full((4, 4), 0.5))
        >>> dbscan_labels(distances, eps=0.5).tolist()
        [0, 0, 0, 0]

    Args:
        distances: (N, N) symmetric sparse distances, as of ``jaccard_distances`` with a
            ``max_distance`` of at least ``eps``.
        eps: largest distance between neighbours, between 0 and 1.
        min_samples: number of neighbours that make an image a core of a cluster, itself included.

    Returns:
        (N,) labels 0 .. C-1 of C clusters, -1 for noise.

    Raises:
        ValueError: the distances are not sparse, square, symmetric and at least 0, or an argument
            is out of range.
    """
    from sklearn.cluster import DBSCAN  # here, because importing it takes a second

    _check(distances, eps, min_samples)
    clustering = DBSCAN(eps=eps + TOLERANCE, min_samples=min_samples, metric="precomputed")
    return clustering.fit(distances.tocsr()).labels_.astype(np.int64)


def _check(distances: scipy.sparse.sparray, eps: float, min_samples: int) -> None:
    if not scipy.sparse.issparse(distances) or distances.shape[0] != distances.shape[1]:
        raise ValueError(
            f"expected square sparse distances, got {type(distances).__name__} of shape "
            f"{np.shape(distances)}; make them with neighbours.jaccard_distances"
        )
    if not 0 < eps < 1:
        raise ValueError(
            f"expected eps between 0 and 1, got {eps}; pairs without an entry have distance 1, so "
            "a larger eps would join all images"
        )
    if min_samples < 1:
        raise ValueError(f"expected min_samples of at least 1, got {min_samples}")
    values = distances.tocsr().data
    if not bool(np.all(values >= 0)):
        raise ValueError("expected distances of at least 0, got a negative one or NaN")
    difference = abs(distances - distances.T)
    if difference.nnz and difference.max() > TOLERANCE:
        raise ValueError(
            "expected symmetric distances, got an asymmetric matrix; take the smaller or the "
            "larger of both entries of a pair"
        )
