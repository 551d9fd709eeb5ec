"""The newest keys of earlier batches, as negatives.

[0] He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
    https://arxiv.org/abs/1911.05722, sec. 3.2
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KeyQueue(nn.Module):
    """A ring of K unit vectors, random ones at first; buffers, so that checkpoints hold it.

    Processes of one run hold equal queues: all push the keys of all, in the same order, and start
    with the random vectors of the main one, as ``wrap_for_processes`` sees to.

    Args:
        size: K, at least the keys that all processes push at once.
        dim: D.
    """

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        # Where the next key goes.
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Put (N, D) keys, those of all processes, in the place of the oldest.

        Raises:
            ValueError: more keys than places.
        """
        if len(keys) > len(self.keys):
            raise ValueError(
                f"expected at most the {len(self.keys)} keys of MODEL.MOCO.QUEUE, got "
                f"{len(keys)} at once; enlarge it to a few batches"
            )
        places = (self.position + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.keys[places] = keys.to(self.keys.dtype)
        self.position.add_(len(keys)).remainder_(len(self.keys))
