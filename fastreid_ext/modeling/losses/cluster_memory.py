"""Memory of cluster centroids that the features of each batch move: Cluster-Contrast.

The loss is :func:`~fastreid_ext.modeling.losses.prototype_contrast.prototype_contrast_loss` of the
features to the centroids of all clusters, with temperature 0.05. The centroids are the normalised
mean features at the start of an epoch. After each step of the optimizer those of the batch's
clusters move: the memory has no gradient, and a loss is always that of the memory before its step.

Letters: N training images, B batch, D feature dimension, C clusters, R rows with room for clusters,
M centroid, m momentum, x feature of length 1.

[0] Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022,
    https://arxiv.org/abs/2103.11568
[1] its code, https://github.com/alibaba/cluster-contrast-reid
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.processes import rows_of_all


def cluster_centroids(features: Tensor, labels: Tensor) -> Tensor:
    """Average the features of each cluster and normalise the means to length 1.

    Sums are made in float64 on the CPU, where their order is fixed: on a GPU it is not, and the
    processes of a run would get different rows.

    Example:
        >>> cluster_centroids(torch.eye(2), torch.tensor([0, 0]))
        tensor([[0.7071, 0.7071]])

    Args:
        features: (N, D) features of length 1 on the CPU.
        labels: (N,) clusters 0 .. C-1, each used; -1 for images that are left out.

    Returns:
        (C, D) float32 centroids of length 1.
    """
    kept = labels >= 0
    count = int(labels.max()) + 1
    sums = torch.zeros(count, features.shape[1], dtype=torch.float64)
    sums.index_add_(0, labels[kept], features[kept].double())
    return F.normalize(sums, dim=1).float()


def sequential_update(current: Tensor, features: Tensor, same: Tensor, momentum: float) -> Tensor:
    """Move each centroid to its features one after the other, in the order of the batch [1].

    M <- L2(m M + (1 - m) x), so the last of K features weighs about 1 - m, the one before m times
    that.

    Args:
        current: (B, D) centroid of each feature's cluster.
        features: (B, D) features of length 1.
        same: (B, B) bool, whether two features are of one cluster.
        momentum: share m in [0, 1] of a centroid that stays.

    Returns:
        (B, D) new centroid of each feature's cluster.
    """
    turn = same.tril(diagonal=-1).sum(dim=1)  # (B,) features of the cluster before this one
    for number in range(int(turn.max()) + 1):
        now = same & (turn == number)  # in each row at most one
        moved = F.normalize(
            momentum * current + (1 - momentum) * features[first_of_each(now)], dim=1
        )
        current = torch.where(now.any(dim=1, keepdim=True), moved, current)
    return current


def hard_update(current: Tensor, features: Tensor, same: Tensor, momentum: float) -> Tensor:
    """Move each centroid to the least similar of its features, the first of equals [0].

    Arguments and result are those of :func:`sequential_update`.
    """
    similarity = (current * features).sum(dim=1)  # (B,)
    lowest = similarity.expand_as(same).masked_fill(~same, torch.inf).argmin(dim=1)
    return F.normalize(momentum * current + (1 - momentum) * features[lowest], dim=1)


def mean_update(current: Tensor, features: Tensor, same: Tensor, momentum: float) -> Tensor:
    """Move each centroid to the mean, of any length, of its features.

    Arguments and result are those of :func:`sequential_update`.
    """
    weights = same.to(features.dtype)
    means = weights @ features / weights.sum(dim=1, keepdim=True)
    return F.normalize(momentum * current + (1 - momentum) * means, dim=1)


def random_update(current: Tensor, features: Tensor, same: Tensor, momentum: float) -> Tensor:
    """Move each centroid to one of its features, chosen at random.

    Arguments and result are those of :func:`sequential_update`. The random numbers are those of
    the generator of the CPU, whose state a checkpoint holds; each process samples those of its own
    features.
    """
    own = len(features) // rows_of_all(features.new_zeros(1)).shape[0]
    keys = rows_of_all(torch.rand(own).to(features.device))
    chosen = keys.expand_as(same).masked_fill(~same, -1).argmax(dim=1)
    return F.normalize(momentum * current + (1 - momentum) * features[chosen], dim=1)


def first_of_each(mask: Tensor) -> Tensor:
    """Find the first True of each row (B, B), 0 in a row without one."""
    return mask.to(torch.uint8).argmax(dim=1)


UPDATES: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "sequential": sequential_update,
    "hard": hard_update,
    "mean": mean_update,
    "random": random_update,
}


class ClusterMemory(nn.Module):
    """Centroids of the clusters of an epoch, in a buffer with room for more.

    Example:
        >>> memory = ClusterMemory(rows=8, dim=2, momentum=0.1, rule="hard")
        >>> memory.begin(torch.eye(2), torch.arange(2))
        >>> memory.update(torch.tensor([[0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0]))
        >>> memory.used
        tensor([[0.1104, 0.9939],
                [0.0000, 1.0000]])

    Attributes:
        count: number C of clusters; all rows before :meth:`begin`.

    Args:
        rows: number R of clusters for which there is room.
        dim: dimension D of a feature.
        momentum: share m in [0, 1] of a centroid that stays in an update.
        rule: name of the update, one of :data:`UPDATES`.
    """

    centroids: Tensor

    def __init__(
        self, rows: int, dim: int, *, momentum: float = 0.1, rule: str = "sequential"
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.rule = rule
        self.count = rows
        self.register_buffer("centroids", torch.zeros(rows, dim))

    @property
    def used(self) -> Tensor:
        """Rows (C, D) of the clusters."""
        return self.centroids[: self.count]

    @torch.no_grad()
    def begin(self, features: Tensor, labels: Tensor) -> None:
        """Set the centroids for an epoch, as :func:`cluster_centroids` computes them."""
        centroids = cluster_centroids(features, labels)
        self.count = len(centroids)
        self.centroids.zero_()
        self.used.copy_(centroids)

    @torch.no_grad()
    @in_full_precision
    def update(self, features: Tensor, targets: Tensor) -> None:
        """Move the centroids of the clusters that the batch shows; others stay as they are.

        Features of all processes are used, in the order of their ranks, so that the memories of all
        processes stay equal.

        Args:
            features: (B, D) of this process, of any length.
            targets: (B,) clusters of this process.
        """
        features = rows_of_all(F.normalize(features, dim=1))
        targets = rows_of_all(targets)
        same = targets[:, None] == targets[None, :]
        current = self.centroids[targets]
        moved = UPDATES[self.rule](current, features, same, self.momentum)
        # One row for each cluster: equal rows of a matrix product may differ in their last bits.
        self.centroids[targets] = moved[first_of_each(same)]
