"""Fine-tune a model on one identity without forgetting other people: prior preservation.

Letters: B rows of a batch, K identities, x a clean latent, hats for what the model predicts.
Equation 1 of [0] is

    w_t || x^ - x ||^2  +  lambda w_t' || x^_pr - x_pr ||^2,

the first term over images of the identity, the second over the reference set, which the untouched
model generated. :mod:`fastreid_ext.diffusion.noising` computes the terms of single rows.

[0] Niu et al., "Synthesizing Efficient Data with Diffusion Models for Person Re-Identification
    Pre-Training", 2024, eq. 1, https://arxiv.org/abs/2406.06045
[1] Ruiz et al., "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven
    Generation", CVPR 2023, eq. 2, https://arxiv.org/abs/2208.12242
"""

import torch
from torch import Tensor


def prior_preservation_loss(
    row_losses: Tensor,
    identity_index: Tensor,
    is_prior: Tensor,
    *,
    prior_weight: float,
    count: int,
) -> Tensor:
    """Compute eq. 1 for each identity: mean of its own rows plus lambda times that of prior rows.

    The losses of several identities may be summed: the gradient of a row is then the same as if its
    identity were trained alone, and a NaN stays with its identity.

    Args:
        row_losses: (B,) denoising losses of single rows.
        identity_index: (B,) identity of each row, in [0, K).
        is_prior: (B,) bool, True for rows of the reference set.
        prior_weight: lambda, weight of the reference set.
        count: number K of identities trained together.

    Returns:
        (K,) losses; a term without rows is 0.

    Example:
        >>> losses, index = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1])
        >>> is_prior = torch.tensor([False, True, False])
        >>> prior_preservation_loss(losses, index, is_prior, prior_weight=0.5, count=2)
        tensor([2.5000, 5.0000])
    """
    if not row_losses.shape == identity_index.shape == is_prior.shape or row_losses.ndim != 1:
        raise ValueError(
            f"expected row_losses, identity_index and is_prior (B,), got "
            f"{tuple(row_losses.shape)}, {tuple(identity_index.shape)} and {tuple(is_prior.shape)}"
        )
    terms = 2 * identity_index + is_prior  # own 0, prior 0, own 1, prior 1, ...
    zeros = row_losses.new_zeros(2 * count)
    rows = zeros.index_add(0, terms, torch.ones_like(row_losses)).clamp_min(1)
    # Added up by index, not by a product with a matrix of weights: 0 * nan is nan.
    sums = zeros.index_add(0, terms, row_losses)
    own, prior = (sums / rows).view(count, 2).unbind(dim=1)
    return own + prior_weight * prior
