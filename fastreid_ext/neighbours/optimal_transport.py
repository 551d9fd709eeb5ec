"""Labels of equally large clusters from predictions, by optimal transport.

The plan Q minimises <Q, -log P> + KL(Q || r c^T) / lambda with row sums r = 1/K and column sums
c = 1/N. It is diag(a) P^lambda diag(b), which Sinkhorn's rounds find.

Letters: K clusters, N images.

[0] Asano et al., "Self-labelling via simultaneous clustering and representation learning", ICLR
    2020, https://arxiv.org/abs/1911.05371
[1] Zheng et al., "Group-aware Label Transfer for Domain Adaptive Person Re-identification", CVPR
    2021, https://arxiv.org/abs/2103.12366, whose rule where to stop this is
"""

import logging

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_ROUNDS_BETWEEN_LOOKS = 10
_LOWEST = -600.0  # exp of it is still above 0 in float64


def transport_plan(
    probabilities: NDArray[np.floating],
    *,
    sharpness: float = 25.0,
    tolerance: float = 1e-2,
    most_rounds: int = 10_000,
) -> NDArray[np.float64]:
    """Compute the plan between images and clusters.

    Example:
        >>> plan = transport_plan(np.array([[0.9, 0.6], [0.1, 0.4]]), sharpness=1, tolerance=1e-9)
        >>> plan.round(5).tolist()
        [[0.35505, 0.14495], [0.14495, 0.35505]]

    Args:
        probabilities: (K, N) predictions P of the images, at least 0, with a sum above 0 in each
            column.
        sharpness: exponent lambda > 0 of the predictions.
        tolerance: largest sum over the images of relative changes of b in a round, at which the
            rounds end.
        most_rounds: number of rounds after which they end anyway, with a warning.

    Returns:
        (K, N) plan Q with column sums of 1/N, and row sums of 1/K up to the tolerance.
    """
    clusters, images = probabilities.shape
    with np.errstate(divide="ignore"):
        logs = sharpness * np.log(probabilities.astype(np.float64))
    # Factors of rows and columns do not change the plan; with these nothing large is left out.
    logs -= logs.max(axis=0, keepdims=True)
    logs -= logs.max(axis=1, keepdims=True).clip(min=_LOWEST)
    kernel = np.exp(logs.clip(min=_LOWEST))
    column = np.full(images, 1 / images)
    for number in range(1, most_rounds + 1):
        row = 1 / clusters / (kernel @ column)
        before = column
        column = 1 / images / (row @ kernel)
        is_looked_at = number % _ROUNDS_BETWEEN_LOOKS == 0
        if is_looked_at and np.abs(before / column - 1).sum() <= tolerance:
            break
    else:
        logger.warning(
            "optimal transport of %d images to %d clusters did not settle in %d rounds; lower "
            "MODEL.GLT.SHARPNESS, now %g",
            images,
            clusters,
            most_rounds,
            sharpness,
        )
    return row[:, None] * kernel * column[None, :]


def transported_labels(
    probabilities: NDArray[np.floating], *, sharpness: float = 25.0
) -> NDArray[np.int64]:
    """Choose for each image the cluster to which the plan brings the largest part of it.

    Example:
        >>> transported_labels(np.array([[0.9, 0.6], [0.1, 0.4]]), sharpness=5).tolist()
        [0, 1]

    Args:
        probabilities: (K, N) predictions of the images.
        sharpness: exponent lambda > 0 of the predictions.

    Returns:
        (N,) clusters 0 .. K-1, of equal ones the first; a cluster may have no image.
    """
    return transport_plan(probabilities, sharpness=sharpness).argmax(axis=0)
