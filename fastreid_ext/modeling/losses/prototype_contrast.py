"""Pull each feature to the prototype of its identity, away from the prototypes of all others.

A prototype is the normalised mean feature of an identity. The loss is the cross-entropy of the
cosine similarities of a feature to all prototypes, divided by a temperature; prototypes have no
gradient. They are rebuilt from all training images at the start of an epoch, and each batch moves
them to the features that fit them worst, "hardest" in [1].

Letters: B batch, W processes, N identities, D dimension of a feature.

[0] Li et al., "Unleashing the Potential of Pre-Trained Diffusion Models for Generalizable Person
    Re-Identification" (DCAC), Sensors 2025, eq. 2, https://arxiv.org/abs/2502.06619
[1] Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022,
    https://arxiv.org/abs/2103.11568
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.processes import rows_of_all


@in_full_precision
def prototype_contrast_loss(
    features: Tensor, prototypes: Tensor, targets: Tensor, temperature: float = 0.01
) -> Tensor:
    """Compute the mean cross-entropy of the similarities of features to prototypes.

    Args:
        features: (B, D) of any length; they are normalised here.
        prototypes: (N, D) of length 1.
        targets: (B,) identities in [0, N).
        temperature: divisor > 0 of the cosine similarities, tau_m.

    Returns:
        Scalar; log N where all prototypes are equally similar.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> prototypes = torch.eye(3)
        >>> prototype_contrast_loss(prototypes, prototypes, torch.arange(3), temperature=1.0)
        tensor(0.5514)
    """
    is_matrix = features.ndim == 2 and prototypes.ndim == 2
    if not is_matrix or features.shape[1] != prototypes.shape[1]:
        raise ValueError(
            "expected features (B, D) and prototypes (N, D), got "
            f"{tuple(features.shape)} and {tuple(prototypes.shape)}"
        )
    similarities = F.normalize(features, dim=1) @ prototypes.T
    return F.cross_entropy(similarities / temperature, targets)


class PrototypeMemory(nn.Module):
    """Prototypes of all identities, in a buffer and therefore in every checkpoint.

    Example:
        >>> memory = PrototypeMemory(identities=2, dim=2, momentum=0.2)
        >>> memory.rebuild(torch.eye(2), torch.arange(2))
        >>> memory.update(torch.tensor([[1.0, 1.0]]), torch.tensor([0]))
        >>> memory.prototypes[0]
        tensor([0.8043, 0.5942])

    Args:
        identities: number N of identities.
        dim: dimension D of a feature.
        momentum: share in [0, 1] of a prototype that stays in an update.
    """

    prototypes: Tensor

    def __init__(self, identities: int, dim: int, momentum: float = 0.2) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("prototypes", torch.zeros(identities, dim))

    @torch.no_grad()
    @in_full_precision
    def rebuild(self, features: Tensor, targets: Tensor) -> None:
        """Set each prototype to the normalised mean of its identity's normalised features.

        Args:
            features: (M, D) of all training images.
            targets: (M,) identities in [0, N).

        Raises:
            ValueError: an identity has no image, or its mean no direction.
        """
        sums = torch.zeros_like(self.prototypes)
        sums.index_add_(0, targets, F.normalize(features, dim=1))
        lengths = sums.norm(dim=1)
        # NaN is not above 0 either.
        missing = (~(lengths > 0)).nonzero().flatten().tolist()
        if missing:
            raise ValueError(
                f"expected images with finite features of all {len(sums)} identities, got none of "
                f"{len(missing)} of them (the first is class {missing[0]}); their prototypes would "
                "be those of no image. Set MODEL.HEADS.NUM_CLASSES to the identities of the data"
            )
        self.prototypes.copy_(sums / lengths[:, None])

    @torch.no_grad()
    @in_full_precision
    def update(self, features: Tensor, targets: Tensor) -> None:
        """Move the prototype of each identity in the batch to its least similar feature.

        Of several equally dissimilar features the first counts. Features of all processes are
        used, so that the memories of all processes stay equal.

        Args:
            features: (B, D) of this process, of any length.
            targets: (B,) identities of this process.
        """
        features = rows_of_all(F.normalize(features, dim=1))
        targets = rows_of_all(targets)
        hardest, is_present = self._hardest(features, targets)
        moved = self.momentum * self.prototypes + (1 - self.momentum) * features[hardest]
        updated = torch.where(is_present[:, None], F.normalize(moved, dim=1), self.prototypes)
        self.prototypes.copy_(updated)

    def _hardest(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Find the row of the least similar feature of each identity, without waiting for a GPU.

        Returns:
            (N,) rows, 0 for identities that the batch does not have, and (N,) whether it has them.
        """
        rows = len(features)
        identities = len(self.prototypes)
        similarity = (features * self.prototypes[targets]).sum(dim=1)
        lowest = similarity.new_full((identities,), torch.inf)
        lowest = lowest.scatter_reduce(0, targets, similarity, "amin")
        order = torch.arange(rows, device=targets.device)
        candidates = torch.where(similarity == lowest[targets], order, rows)
        first = targets.new_full((identities,), rows)
        first = first.scatter_reduce(0, targets, candidates, "amin")
        is_present = first < rows
        return torch.where(is_present, first, 0), is_present
