"""Contrastive loss with several positives, which are summed inside the logarithm.

Letters: B batch, P positives of an image, N negatives, D feature dimension; q, k, n rows of norm 1,
tau temperature; V views of A images, K length of a queue.

    L = - log [ sum_i exp(q k_i / tau) / ( sum_i exp(q k_i / tau) + sum_j exp(q n_j / tau) ) ]

With one positive it is InfoNCE. One near positive is enough: where one is near, the others pull
little.

[0] DAPG, IEEE Signal Processing Letters, 2024, eq. 1 (L_mc)
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
    """Compute L above from features, as a mean over the batch.

    Example:
        >>> query = torch.eye(3)  # (B, D)
        >>> loss = multi_positive_contrastive_loss(query, query[:, None], -query, temperature=0.7)
        >>> round(float(loss), 4)
        0.4297

    Args:
        query: features (B, D) with rows of norm 1.
        positives: features (B, P, D) with rows of norm 1, P >= 1, in any order.
        negatives: features of norm 1, N >= 1: (N, D) shared by all images, or (B, N, D) with those
            of each image.
        temperature: divisor tau > 0 of the similarities; 0.7 in [0].

    Returns:
        Scalar >= 0; log(1 + N / P) where all similarities are equal.

    Raises:
        ValueError: the shapes differ from these, a row does not have norm 1, or the temperature is
            not positive.
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
    """Compute L above from similarities, as a mean over the batch.

    Example:
        >>> similarities = torch.zeros(4, 1), torch.zeros(4, 7)  # 1 positive, 7 negatives
        >>> round(float(multi_positive_log_loss(*similarities, temperature=0.7)), 4)  # log(8)
        2.0794

    Args:
        positive: similarities q k_i of shape (B, P).
        negative: similarities q n_j of shape (B, N); -inf where an image has fewer negatives than
            others.
        temperature: divisor tau > 0 of the similarities.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}; 0.7 is DAPG's")
    positive = positive / temperature
    every = torch.cat([positive, negative / temperature], dim=1)
    return (every.logsumexp(dim=1) - positive.logsumexp(dim=1)).mean()


def negative_similarities(
    rows: Tensor, keys: Tensor, queue: Tensor | None = None, *, first: int = 0
) -> Tensor:
    """Compute the similarities of each image with its negatives.

    Example:
        >>> features = torch.eye(3)
        >>> negative_similarities(features, features[None]).shape  # two other images for each
        torch.Size([3, 2])

    Args:
        rows: features (B, D) of the images that need negatives.
        keys: features (V, A, D): V views of A images, the B images of ``rows`` among them.
        queue: features (K, D) of earlier batches, negatives of every image; None takes the keys
            of the other A - 1 images.
        first: position of the first image of ``rows`` among the A images of ``keys``.

    Returns:
        (B, K) with a queue, else (B, V * (A - 1)).
    """
    if queue is not None:
        return rows @ queue.T
    count = keys.shape[1]
    steps = torch.arange(1, count, device=rows.device)
    places = torch.arange(first, first + len(rows), device=rows.device)
    others = (places[:, None] + steps) % count  # (B, A - 1)
    cosines = torch.einsum("bd,vjd->bvj", rows, keys)
    return cosines.gather(2, others[:, None].expand(-1, len(keys), -1)).flatten(1)


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
    """Refuse rows that are not normalised; NaN passes, so that the trainer can name the images."""
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
