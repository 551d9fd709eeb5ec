"""Bank of the features of past batches, in which each image finds its hardest partners: XBM.

Letters: B batch, D feature dimension, R entries of the bank.

[0] Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020,
    https://arxiv.org/abs/1912.06798
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.modeling.losses.utils import euclidean_dist
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision

Entries = tuple[Tensor, Tensor]  # features (M, D) and labels (M,)


class FeatureBank:
    """First-in, first-out memory of features and labels.

    It is no module with buffers: its size follows from the number of training images, and it is
    left alone by a step that is not applied.

    Example:
        >>> bank = FeatureBank(entries=3, dim=1)
        >>> bank.push(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
        >>> bank.push(torch.tensor([[3.0], [4.0]]), torch.tensor([0, 5]))
        >>> sorted(bank.features.flatten().tolist()), len(bank)
        ([2.0, 3.0, 4.0], 3)

    Attributes:
        features: (R, D) float32 features; rows that were not written yet are 0.
        labels: (R,) labels of the features.

    Args:
        entries: number R of features that are kept.
        dim: dimension D of a feature.
        device: device of the bank, such as "cpu".
    """

    def __init__(self, entries: int, dim: int, device: torch.device | str = "cpu") -> None:
        self.features = torch.zeros(entries, dim, device=device)
        self.labels = torch.zeros(entries, dtype=torch.long, device=device)
        self._used = 0
        self._next = 0  # row of the oldest entry once the bank is full

    def __len__(self) -> int:
        """Return the number of entries that are in use."""
        return self._used

    def staying(self, count: int) -> list[Entries]:
        """Select the entries that stay when so many new ones come, without copying them.

        Args:
            count: number of new features, at most R.
        """
        room = len(self.labels)
        if self._used < room:
            begin = max(self._used + count - room, 0)
            return [self._rows(begin, self._used)]
        gone = self._next + count
        if gone <= room:
            return [self._rows(gone, room), self._rows(0, self._next)]
        return [self._rows(gone - room, self._next)]

    def push(self, features: Tensor, labels: Tensor) -> None:
        """Write features (B, D) with labels (B,) over the oldest entries."""
        features = features[-len(self.labels) :]
        labels = labels[-len(self.labels) :]
        count = len(labels)
        places = (self._next + torch.arange(count)) % len(self.labels)
        places = places.to(self.labels.device)
        self.features[places] = features.to(self.features.dtype)
        self.labels[places] = labels
        self._next = (self._next + count) % len(self.labels)
        self._used = min(self._used + count, len(self.labels))

    def keep_below(self, label: int) -> None:
        """Remove all entries with this label or a larger one; the others keep their order."""
        ages = (self._next - self._used + torch.arange(self._used)) % len(self.labels)
        ages = ages.to(self.labels.device)  # rows from the oldest to the newest
        kept = ages[self.labels[ages] < label]
        features = self.features[kept]
        labels = self.labels[kept]
        self.features.zero_()
        self.labels.zero_()
        self._next = 0
        self._used = 0
        self.push(features, labels)

    def state_dict(self) -> dict[str, Any]:
        """Collect the entries and where the next one is written."""
        return {
            "features": self.features[: self._used].cpu(),
            "labels": self.labels[: self._used].cpu(),
            "entries": len(self.labels),
            "next": self._next,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any], device: torch.device | str) -> "FeatureBank":
        """Build the bank that :meth:`state_dict` described."""
        used, dim = state["features"].shape
        bank = cls(state["entries"], dim, device)
        bank.features[:used] = state["features"].to(device)
        bank.labels[:used] = state["labels"].to(device)
        bank._used = used
        bank._next = state["next"]
        return bank

    def _rows(self, begin: int, end: int) -> Entries:
        return self.features[begin:end], self.labels[begin:end]


@in_full_precision
def bank_triplet_loss(
    features: Tensor, targets: Tensor, entries: Sequence[Entries], margin: float = 0.3
) -> Tensor:
    """Compute the mean hinge of the hardest positive and negative of each image among entries.

    Example:
        >>> features, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
        >>> entries = [(torch.tensor([[3.0], [4.0]]), torch.tensor([0, 1]))]
        >>> bank_triplet_loss(features, targets, entries, margin=0.5)
        tensor(0.7500)

    Args:
        features: (B, D) features, which alone get a gradient.
        targets: (B,) labels of the features, each with a label and another one in the entries.
        entries: parts of a bank, each features (M, D) and labels (M,); the features of the batch
            itself are among them in XBM.
        margin: distance by which a negative should be farther than a positive.
    """
    positives = []
    negatives = []
    for others, labels in entries:
        if not len(labels):
            continue
        distances = euclidean_dist(features, others.detach())
        same = targets[:, None] == labels[None, :]
        positives.append(distances.masked_fill(~same, 0).amax(dim=1))
        negatives.append(distances.masked_fill(same, torch.inf).amin(dim=1))
    positive = torch.stack(positives).amax(dim=0)
    negative = torch.stack(negatives).amin(dim=0)
    return F.relu(positive - negative + margin).mean()
