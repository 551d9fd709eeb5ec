"""Similarities of the learned prompts of identities, compared with those of their appearance.

In DCAC a prompt tells the diffusion model which identity an image shows [0]. If prompts have
learned how people look, identities that look alike have similar prompts.

Letters: N training identities, C width of a prompt, D dimension of a feature.

[0] Li et al., "Unleashing the Potential of Pre-Trained Diffusion Models for Generalizable Person
    Re-Identification" (DCAC), Sensors 2025, section 4.3, https://arxiv.org/abs/2502.06619
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from fastreid_ext.evaluation.matrix_correlation import MantelTest, mantel_test

_OPTIMAL_UP_TO = 1500  # identities; the time of the optimal order grows with their third power


@dataclasses.dataclass(frozen=True)
class PromptSimilarity:
    """Cosine similarities of N identities, ordered so that those that look alike are neighbours.

    Attributes:
        prompts: (N, N) similarities of the prompts.
        looks: (N, N) similarities of the prototypes.
        order: (N,) identities in the order of rows and columns.
        test: correlation of the two matrices.
    """

    prompts: NDArray[np.float64]
    looks: NDArray[np.float64]
    order: NDArray[np.int64]
    test: MantelTest


def prompt_similarity(
    prompts: NDArray[np.floating],
    prototypes: NDArray[np.floating],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> PromptSimilarity:
    """Compare the similarities of prompts with those of prototypes.

    Args:
        prompts: (N, C) learned prompt of each identity, of any length.
        prototypes: (N, D) mean feature of each identity, of any length.
        permutations: number of random permutations of the test.
        seed: random seed of the permutations.

    Raises:
        ValueError: prompts and prototypes of different identities, or fewer than four, or a row
            without direction.
    """
    if len(prompts) != len(prototypes):
        raise ValueError(
            f"expected a prompt of each of the {len(prototypes)} identities with a prototype, got "
            f"{len(prompts)}; are they of two runs, or of MODEL.DIFFUSION.CONDITION instance, "
            "whose prompts belong to dimensions of the feature?"
        )
    of_prompts = _cosines(prompts, "prompt")
    of_looks = _cosines(prototypes, "prototype")
    test = mantel_test(of_looks, of_prompts, permutations=permutations, seed=seed)
    order = similarity_order(of_looks)
    return PromptSimilarity(
        of_prompts[np.ix_(order, order)], of_looks[np.ix_(order, order)], order, test
    )


def similarity_order(similarities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Order things so that similar ones are neighbours: leaves of an average-linkage tree.

    The leaves have scipy's optimal order up to 1,500 things, the order of the merges beyond.

    Args:
        similarities: (N, N) symmetric similarities in [-1, 1].
    """
    distances = squareform(1 - similarities, checks=False).clip(min=0)
    is_optimal = len(similarities) <= _OPTIMAL_UP_TO
    return leaves_list(linkage(distances, "average", optimal_ordering=is_optimal)).astype(np.int64)


def _cosines(rows: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(broken):
        raise ValueError(
            f"expected a {name} with a direction of every identity, got zeros, NaN or infinity for "
            f"{len(broken)}, the first is identity {broken[0]}; was the run stopped in its first "
            "epoch?"
        )
    unit = rows / lengths
    return unit @ unit.T
