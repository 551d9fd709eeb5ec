"""Order of the cameras of a target, nearest to the source first, and epochs of each stage: CaCL.

Letters: C cameras, E epochs.

[0] Lee et al., "Camera-Driven Representation Learning for Unsupervised Domain Adaptive Person
    Re-Identification", ICCV 2023, https://arxiv.org/abs/2308.11901
"""

from collections.abc import Collection, Mapping

import numpy as np
from torch import Tensor

from fastreid_ext.neighbours.discrepancy import median_distance, squared_mmd


def stage_lengths(cameras: int, epochs: int, early_share: float = 0.4) -> list[int]:
    """Divide the epochs of a run among stages, one for each camera.

    The first C - 1 stages share ``early_share`` of the epochs evenly, at least one each; the last
    stage, with all cameras, has the rest.

    Example:
        >>> stage_lengths(4, 50, 0.4)
        [7, 7, 6, 30]

    Args:
        cameras: number C of cameras of the target.
        epochs: number E of epochs of the run, at least C.
        early_share: share in [0, 1) of the epochs that have not all cameras.
    """
    early = min(max(round(early_share * epochs), cameras - 1), epochs - 1)
    stages = cameras - 1
    lengths = [early // stages + (number < early % stages) for number in range(stages)]
    return [*lengths, epochs - sum(lengths)]


def stage_of(epoch: int, lengths: list[int]) -> int:
    """Find the stage, from 0, of an epoch, from 0."""
    return int(np.searchsorted(np.cumsum(lengths), epoch, side="right"))


def nearest_camera(
    source: Tensor,
    cameras: Mapping[int, Tensor],
    used: Collection[int],
    *,
    kernel: str = "gaussian",
) -> int:
    """Find the camera whose images are the most similar to the source's, of equal ones the first.

    The bandwidth of the Gaussian kernel is the median distance of source and target features, one
    for all cameras.

    Args:
        source: (N, D) features of source images.
        cameras: features (M, D) of the images of each camera of the target.
        used: cameras that do not count, because they have been chosen before.
        kernel: kernel of the maximum mean discrepancy, "gaussian" or "linear".
    """
    bandwidth = 1.0
    if kernel == "gaussian":
        bandwidth = float(np.median([median_distance(source, own) for own in cameras.values()]))
    distances = {
        camera: squared_mmd(source, features, kernel=kernel, bandwidth=bandwidth)
        for camera, features in sorted(cameras.items())
        if camera not in used
    }
    return min(distances, key=distances.__getitem__)  # the first of equal ones


def sample_rows(features: Tensor, most: int, seed: int) -> Tensor:
    """Select at most so many features, in their order, by a generator with a fixed seed."""
    if len(features) <= most:
        return features
    rows = np.random.default_rng(seed).choice(len(features), most, replace=False)
    return features[np.sort(rows).tolist()]
