"""How clusters of images look, and how well they agree with identities where these are known."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.neighbours.reliability import noise_apart


@dataclasses.dataclass(frozen=True)
class ClusterReport:
    """Figures of one clustering.

    Attributes:
        clusters: count of the clusters that DBSCAN found.
        noise_share: share in [0, 1] of the images that are in no cluster.
        largest: number of images of the largest cluster.
        cameras: mean number of different cameras in a cluster.
        ari: adjusted Rand index with the identities, 1 for equal groups and about 0 for random
            ones, every noise image a group of its own; None without identities.
        nmi: normalised mutual information of the same groups, in [0, 1]; None without identities.
    """

    clusters: int
    noise_share: float
    largest: int
    cameras: float
    ari: float | None = None
    nmi: float | None = None

    def __str__(self) -> str:
        """Write the figures as a line of a log."""
        text = (
            f"{self.clusters} clusters of at most {self.largest} images and on average "
            f"{self.cameras:.1f} cameras, {self.noise_share:.1%} noise"
        )
        if self.ari is None:
            return text
        return f"{text}; beside the identities ARI {self.ari:.3f}, NMI {self.nmi:.3f}"


def cluster_report(
    labels: NDArray[np.integer],
    cameras: NDArray[np.integer],
    identities: NDArray[np.integer] | None = None,
) -> ClusterReport:
    """Describe a clustering.

    Example:
        >>> labels, cameras = np.array([0, 0, 1, 1, -1]), np.array([0, 1, 0, 0, 0])
        >>> print(cluster_report(labels, cameras))
        2 clusters of at most 2 images and on average 1.5 cameras, 20.0% noise

    Args:
        labels: (N,) clusters 0 .. C-1, -1 for noise.
        cameras: (N,) numbers of the cameras.
        identities: (N,) true identities; None = not known.
    """
    kept = labels >= 0
    clusters = int(labels.max(initial=-1)) + 1
    pairs = np.unique(np.stack([labels[kept], cameras[kept]]), axis=1)
    ari = None
    nmi = None
    if identities is not None:
        # here, because importing it takes a second
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        groups = noise_apart(labels)
        ari = float(adjusted_rand_score(identities, groups))
        nmi = float(normalized_mutual_info_score(identities, groups))
    return ClusterReport(
        clusters=clusters,
        noise_share=float(1 - kept.mean()),
        largest=int(np.bincount(labels[kept], minlength=1).max()),
        cameras=pairs.shape[1] / max(clusters, 1),
        ari=ari,
        nmi=nmi,
    )
