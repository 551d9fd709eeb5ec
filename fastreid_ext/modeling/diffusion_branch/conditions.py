"""Conditions of the diffusion branch: what the U-Net is told about each image [0, section 4.3].

Letters: B batch, N training identities, D dimension of a feature, C width of the cross-attention
(768 in Stable Diffusion 1.x).

[0] Li et al., "Unleashing the Potential of Pre-Trained Diffusion Models for Generalizable Person
    Re-Identification" (DCAC), Sensors 2025, https://arxiv.org/abs/2502.06619
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.full_precision import in_full_precision


class CorrelationCondition(nn.Module):
    """Prompts of all identities, mixed by the probabilities that the Re-ID model gives them.

    c = softmax(logits / tau) P. The gradient of the condition reaches the prompts P and, through
    the logits, the Re-ID model.

    Example:
        >>> condition = CorrelationCondition(identities=751, width=768, temperature=0.6)
        >>> logits = torch.zeros(4, 751)
        >>> condition(logits, torch.zeros(4, 512), torch.arange(4)).shape
        torch.Size([4, 768])

    Args:
        identities: number N of training identities.
        width: width C of the cross-attention.
        temperature: divisor tau > 0 of the logits.
    """

    def __init__(self, identities: int, width: int, temperature: float) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(identities, width))
        self.temperature = temperature

    @in_full_precision
    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Compute conditions (B, C) from logits (B, N); features and targets are not used.

        Raises:
            ValueError: the number of logits is not the number of prompts.
        """
        _expect_identities(logits, self.prompts)
        return (logits / self.temperature).softmax(dim=1) @ self.prompts


class ClassCondition(nn.Module):
    """Prompt of the identity that an image is labelled with; no gradient for the Re-ID model.

    Example:
        >>> condition = ClassCondition(identities=751, width=768)
        >>> condition(torch.zeros(4, 751), torch.zeros(4, 512), torch.arange(4)).shape
        torch.Size([4, 768])

    Args:
        identities: number N of training identities.
        width: width C of the cross-attention.
    """

    def __init__(self, identities: int, width: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(identities, width))

    @in_full_precision
    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Look up the conditions (B, C) of targets (B,); logits and features are not used."""
        _expect_identities(logits, self.prompts)
        return self.prompts[targets]


class InstanceCondition(nn.Module):
    """Normalised feature of the image, mapped linearly to the width of the cross-attention.

    Example:
        >>> condition = InstanceCondition(dim=512, width=768)
        >>> condition(torch.zeros(4, 751), torch.rand(4, 512), torch.arange(4)).shape
        torch.Size([4, 768])

    Args:
        dim: dimension D of a feature.
        width: width C of the cross-attention.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(dim, width))

    @in_full_precision
    def forward(self, logits: Tensor, features: Tensor, targets: Tensor) -> Tensor:
        """Map features (B, D) to conditions (B, C); logits and targets are not used.

        Raises:
            ValueError: features of another dimension.
        """
        if features.shape[1:] != self.prompts.shape[:1]:
            raise ValueError(
                f"expected features of {len(self.prompts)} dimensions for the instance-wise "
                f"condition, got {tuple(features.shape)}; take MODEL.DIFFUSION.CONDITION "
                "correlation with this head"
            )
        return F.normalize(features, dim=1) @ self.prompts


def _expect_identities(logits: Tensor, prompts: Tensor) -> None:
    if logits.shape[1:] != prompts.shape[:1]:
        raise ValueError(
            f"expected logits of {len(prompts)} identities, the number of prompts, got "
            f"{tuple(logits.shape)}; set MODEL.HEADS.NUM_CLASSES to the identities of the data"
        )
