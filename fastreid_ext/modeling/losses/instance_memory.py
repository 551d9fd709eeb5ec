"""Memory of a feature of every training image, and the contrast of features to its classes: SpCL.

The memory is filled once, with features of the weights at the start; from then on each image's row
moves when a batch shows the image, and the rows are what is clustered. A class is a cluster or an
image in no cluster. Its score is the mean similarity of a feature to the rows of its images, the
feature's own row included.

Letters: N training images, B batch, D feature dimension, C classes.

[0] Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object
    Re-ID", NeurIPS 2020, eq. 1 and 2, https://arxiv.org/abs/2006.02713
[1] its code, https://github.com/yxgeee/SpCL
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.full_precision import in_full_precision
from fastreid_ext.modeling.losses.cluster_memory import sequential_update
from fastreid_ext.processes import rows_of_all


class InstanceMemory(nn.Module):
    """Features of all training images, and the classes of the images in an epoch.

    Example:
        >>> memory = InstanceMemory(rows=2, dim=2, momentum=0.2)
        >>> memory.begin(torch.eye(2), torch.tensor([0, 1]))
        >>> memory.update(torch.tensor([[0.6, 0.8]]), torch.tensor([0]))
        >>> memory.features
        tensor([[0.7282, 0.6854],
                [0.0000, 1.0000]])

    Attributes:
        features: (N, D) features of the images, of length 1.
        classes: (N,) class of each training image in the epoch.
        count: number C of classes; N before :meth:`begin`.

    Args:
        rows: number N of training images.
        dim: dimension D of a feature.
        momentum: share in [0, 1] of a row that stays in an update.
    """

    features: Tensor
    classes: Tensor

    def __init__(self, rows: int, dim: int, *, momentum: float = 0.2) -> None:
        super().__init__()
        self.momentum = momentum
        self.count = rows
        self.register_buffer("features", torch.zeros(rows, dim))
        self.register_buffer("classes", torch.arange(rows), persistent=False)

    @torch.no_grad()
    def begin(self, features: Tensor, labels: Tensor) -> None:
        """Set rows and classes for an epoch.

        Args:
            features: (N, D) features of length 1, after the first epoch the memory's own.
            labels: (N,) classes 0 .. C-1, each used.

        Raises:
            ValueError: the memory has another number of rows, or an image has no class.
        """
        if len(features) != len(self.features) or int(labels.min()) < 0:
            raise ValueError(
                f"expected a class for each of the {len(self.features)} images of the memory, got "
                f"{int((labels >= 0).sum())} for {len(features)} images; set "
                "MODEL.HEADS.NUM_CLASSES 0 and UNSUPERVISED.OUTLIERS kept"
            )
        self.features.copy_(features)
        self.classes.copy_(labels)
        self.count = int(labels.max()) + 1

    @torch.no_grad()
    @in_full_precision
    def update(self, features: Tensor, indices: Tensor) -> None:
        """Move the rows of the batch's images, one after the other where an image comes twice.

        Features of all processes are used, in the order of their ranks.

        Args:
            features: (B, D) of this process, of any length.
            indices: (B,) positions of their images among the N.
        """
        features = rows_of_all(F.normalize(features, dim=1))
        indices = rows_of_all(indices)
        same = indices[:, None] == indices[None, :]
        moved = sequential_update(self.features[indices], features, same, self.momentum)
        self.features[indices] = moved


@in_full_precision
def instance_contrast_loss(
    features: Tensor, memory: InstanceMemory, targets: Tensor, temperature: float = 0.05
) -> Tensor:
    """Compute the mean cross-entropy of the mean similarities of features to classes.

    The code [1] adds 1e-6 to the probability and to its denominator; [0] does not.

    Example:
        >>> memory = InstanceMemory(rows=3, dim=2)
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> memory.begin(rows, torch.tensor([0, 0, 1]))
        >>> instance_contrast_loss(rows[:1], memory, torch.tensor([0]), temperature=1.0)
        tensor(0.2014)

    Args:
        features: (B, D) of any length.
        memory: rows and classes of all training images.
        targets: (B,) class of the image of each feature.
        temperature: divisor > 0 of the cosine similarities.
    """
    similarities = F.normalize(features, dim=1) @ memory.features.T  # (B, N)
    sums = similarities.new_zeros(len(features), memory.count)
    sums = sums.index_add(1, memory.classes, similarities)
    sizes = similarities.new_zeros(memory.count)
    sizes = sizes.index_add(0, memory.classes, torch.ones_like(similarities[0]))
    return F.cross_entropy(sums / sizes / temperature, targets)
