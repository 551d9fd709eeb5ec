"""Mean features of each camera of a cluster, and a loss that brings the cameras together.

A proxy is the normalised mean feature of the images of one cluster from one camera. It is constant
within an epoch. A feature is pulled to the proxies of its own cluster, with equal shares, and
told apart from the most similar proxies of other clusters [0, 1, 2].

Letters: N training images, B batch, D feature dimension, C clusters, Q proxies.

[0] Wang et al., "Camera-aware Proxies for Unsupervised Person Re-Identification", AAAI 2021
[1] Chen et al., "ICE: Inter-instance Contrastive Encoding for Unsupervised Person
    Re-identification", ICCV 2021: the proxy of the image's own camera is a positive too
[2] Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification",
    CVPR 2022: the proxy of the image's own camera takes no part
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.full_precision import in_full_precision

# What is normalised to length 1: each proxy, or each dimension over all proxies (code of [1]).
NORMALISED = ("proxy", "dimension")


class CameraProxies(nn.Module):
    """Mean features of each camera of each cluster, for one epoch.

    They follow from the weights with which an epoch begins, so checkpoints do not hold them.

    Example:
        >>> proxies = CameraProxies(rows=8, dim=2)
        >>> proxies.begin(torch.eye(2), torch.tensor([0, 0]), torch.tensor([7, 3]))
        >>> proxies.rows.tolist(), proxies.cameras.tolist()
        ([[0.0, 1.0], [1.0, 0.0]], [3, 7])

    Attributes:
        rows: (Q, D) proxies, ordered by cluster and camera.
        clusters: (Q,) cluster of each proxy.
        cameras: (Q,) camera of each proxy.

    Args:
        rows: number of clusters, of one camera each, before :meth:`begin`.
        dim: dimension D of a feature.
        normalised: "proxy" for proxies of length 1; "dimension" divides each dimension by its
            length over all proxies, as the code of [1] does.
    """

    rows: Tensor
    clusters: Tensor
    cameras: Tensor

    def __init__(self, rows: int, dim: int, *, normalised: str = "proxy") -> None:
        super().__init__()
        self.normalised = normalised
        self.register_buffer("rows", torch.zeros(rows, dim), persistent=False)
        self.register_buffer("clusters", torch.arange(rows), persistent=False)
        self.register_buffer("cameras", torch.zeros(rows, dtype=torch.long), persistent=False)

    @torch.no_grad()
    def begin(self, features: Tensor, labels: Tensor, cameras: Tensor) -> None:
        """Set the proxies for an epoch.

        Args:
            features: (N, D) features of length 1 of all training images, on the CPU.
            labels: (N,) clusters 0 .. C-1; -1 for images that are left out.
            cameras: (N,) cameras of any values from 0.
        """
        kept = labels >= 0
        pairs = torch.stack([labels[kept], cameras[kept]], dim=1)
        known, places = pairs.unique(dim=0, return_inverse=True)
        # Sums in float64 on the CPU, whose order is fixed.
        sums = torch.zeros(len(known), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, places, features[kept].double())
        means = sums / torch.bincount(places)[:, None]
        lengthwise = 1 if self.normalised == "proxy" else 0
        self.rows = F.normalize(means, dim=lengthwise).to(self.rows)
        self.clusters = known[:, 0].to(self.rows.device)
        self.cameras = known[:, 1].to(self.rows.device)


@in_full_precision
def camera_proxy_losses(
    features: Tensor,
    targets: Tensor,
    cameras: Tensor,
    proxies: CameraProxies,
    *,
    temperature: float = 0.07,
    negatives: int = 50,
    with_own_camera: bool = True,
) -> Tensor:
    """Compute the loss of each feature against the proxies.

    Minus the mean log softmax of the positives among positives and negatives. A feature without a
    positive has loss 0.

    Example:
        >>> proxies = CameraProxies(rows=2, dim=2)
        >>> proxies.begin(torch.eye(2), torch.arange(2), torch.zeros(2, dtype=torch.long))
        >>> features = torch.eye(2)
        >>> cameras = torch.zeros(2)
        >>> camera_proxy_losses(features, torch.arange(2), cameras, proxies, temperature=1.0)
        tensor([0.3133, 0.3133])

    Args:
        features: (B, D) of any length.
        targets: (B,) cluster of each feature.
        cameras: (B,) camera of each feature.
        proxies: proxies of the epoch.
        temperature: divisor > 0 of the products of normalised features and proxies.
        negatives: number of most similar proxies of other clusters that count; where there are
            fewer, all of them.
        with_own_camera: whether the proxy of the feature's own camera is a positive, or takes no
            part.

    Returns:
        (B,) losses.
    """
    similarity = F.normalize(features, dim=1) @ proxies.rows.T / temperature  # (B, Q)
    is_own = targets[:, None] == proxies.clusters[None, :]
    is_positive = is_own
    if not with_own_camera:
        is_positive = is_own & (cameras[:, None] != proxies.cameras[None, :])
    among_others = similarity.detach().masked_fill(is_own, -torch.inf)
    hardest = among_others.topk(min(negatives, len(proxies.rows)), dim=1).indices
    is_negative = torch.zeros_like(is_own).scatter(1, hardest, True) & ~is_own
    count = is_positive.sum(dim=1)
    taken = similarity.masked_fill(~(is_positive | is_negative), -torch.inf)
    # A row without a positive may have no entry at all, whose log-sum-exp has no gradient.
    taken = taken.masked_fill((count == 0)[:, None], 0.0)
    total = taken.logsumexp(dim=1)
    mean = similarity.masked_fill(~is_positive, 0.0).sum(dim=1) / count.clamp(min=1)
    return torch.where(count > 0, total - mean, 0.0)
