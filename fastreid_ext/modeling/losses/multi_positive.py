"""Contrast with several positives, which are summed inside the logarithm.

Letters: B batch, P positives of an image, N negatives, D dimension; q, k, n rows of norm 1, tau
temperature.

    L = - log [ sum_i exp(q k_i / tau) / ( sum_i exp(q k_i / tau) + sum_j exp(q n_j / tau) ) ]

With one positive it is InfoNCE. It asks for one near positive, not for all: where one is near, the
others pull little.

[0] DAPG, eq. 1 (L_mc); METHODS.md 4.1 of this project's sources
[1] van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018,
    https://arxiv.org/abs/1807.03748: InfoNCE
"""

import torch
from torch import Tensor

from fastreid_ext.full_precision import in_full_precision

# Largest |norm - 1| of an input. Rounding the numbers of a unit vector to bfloat16 moves its norm
# by 2^-8 at most, to float16 by 2^-11; a vector that was not normalised is far outside.
NORM_TOLERANCE = 1e-2


@in_full_precision
def multi_positive_contrastive_loss(
    query: Tensor, positives: Tensor, negatives: Tensor, temperature: float
) -> Tensor:
    """Mean over the batch of L above.

    Args:
        query: (B, D), rows of norm 1.
        positives: (B, P, D), rows of norm 1, P >= 1; their order does not matter.
        negatives: (N, D) for all images or (B, N, D) for each its own, rows of norm 1, N >= 1.
        temperature: tau > 0; 0.7 in [0].

    Returns:
        Scalar >= 0; log(1 + N / P) where all similarities are equal.

    Raises:
        ValueError: other shapes, rows not of norm 1, or a temperature that is not positive.
    """
    _check_shapes(query, positives, negatives)
    _check_norms({"query": query, "positives": positives, "negatives": negatives})
    positive = (positives @ query[:, :, None]).squeeze(2)  # (B, P)
    if negatives.ndim == 2:
        negative = query @ negatives.T  # (B, N)
    else:
        negative = (negatives @ query[:, :, None]).squeeze(2)
    return multi_positive_log_loss(positive, negative, temperature)


@in_full_precision
def multi_positive_log_loss(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Mean over the batch of L above, of similarities that are known already.

    Args:
        positive: (B, P) similarities q k_i.
        negative: (B, N) similarities q n_j; -inf where an image has fewer negatives than others.
        temperature: tau > 0.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}; 0.7 is DAPG's")
    positive = positive / temperature
    every = torch.cat([positive, negative / temperature], dim=1)
    return (every.logsumexp(dim=1) - positive.logsumexp(dim=1)).mean()


def _check_shapes(query: Tensor, positives: Tensor, negatives: Tensor) -> None:
    is_right = (
        query.ndim == 2
        and positives.ndim == 3
        and (positives.shape[0], positives.shape[2]) == query.shape
        and (
            negatives.shape[1:] == query.shape[1:]
            if negatives.ndim == 2
            else negatives.ndim == 3 and (negatives.shape[0], negatives.shape[2]) == query.shape
        )
    )
    if not is_right or 0 in (*query.shape, *positives.shape, *negatives.shape):
        raise ValueError(
            "expected query (B, D), positives (B, P, D) and negatives (N, D) or (B, N, D), none of "
            f"them empty, got {tuple(query.shape)}, {tuple(positives.shape)} and "
            f"{tuple(negatives.shape)}"
        )


def _check_norms(inputs: dict[str, Tensor]) -> None:
    """Refuse what is not normalised; NaN passes, for the trainer to name the images."""
    with torch.no_grad():
        errors = {
            name: (torch.linalg.vector_norm(rows.float(), dim=-1) - 1).abs().max()
            for name, rows in inputs.items()
        }
        worst = torch.stack(list(errors.values())).tolist()  # one wait for the device, not three
    for name, error in zip(errors, worst, strict=True):
        if error > NORM_TOLERANCE:
            raise ValueError(
                f"expected {name} with rows of norm 1 (up to {NORM_TOLERANCE:g}), got one that is "
                f"off by {error:.3g}; apply torch.nn.functional.normalize(..., dim=-1) first"
            )
