"""Galleries of the trials: which image stands for each identity and camera.

SYSU-MM01 has an official file of permutations, ``rand_perm_cam.mat``: for each camera, identity and
trial the order of the images, of which the first 1 or 10 are the gallery. Most papers run code [0]
that draws by Python's ``random.seed(trial)`` instead, and LLCM has no other rule. Both name images
by number, so draws do not depend on the order in which images are listed.

[0] https://github.com/mangye16/Cross-Modal-Re-ID-baseline
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

Draws = list[NDArray[np.int64]]
# Camera and identity to (trials, images) numbers of images, from 1.
Permutations = dict[tuple[int, int], NDArray[np.int64]]
TRIALS = 10


def seeded_draws(
    pids: ArrayLike,
    camids: ArrayLike,
    names: Sequence[str],
    *,
    trials: int = TRIALS,
    shots: int = 1,
) -> Draws:
    """Draw by ``random.seed(trial)`` [0], identities and then cameras ascending.

    Args:
        pids: (N,) identities of the images.
        camids: (N,) cameras of the images.
        names: names of the files; images of an identity and camera are in the order of their names.
        trials: number of draws, at least 1.
        shots: images for each identity and camera; all if there are fewer.

    Returns:
        Positions of the drawn images, for each trial.
    """
    groups = _groups(pids, camids, names)
    draws = []
    for trial in range(_counted(trials, "trials")):
        rng = random.Random(trial)
        rows: list[int] = []
        for key in sorted(groups):
            own = groups[key]
            if _counted(shots, "shots") == 1:
                rows.append(rng.choice(own))
            else:
                rows += rng.sample(own, min(shots, len(own)))
        draws.append(np.array(rows, np.int64))
    return draws


def official_draws(
    pids: ArrayLike,
    camids: ArrayLike,
    names: Sequence[str],
    permutations: Permutations,
    *,
    trials: int = TRIALS,
    shots: int = 1,
) -> Draws:
    """Draw the first ``shots`` images of SYSU-MM01's official permutations.

    Args:
        pids: (N,) identities of the images.
        camids: (N,) cameras of the images, from 1.
        names: names of the files: ``0007.jpg`` is image 7 of its identity and camera.
        permutations: orders of the images by camera and identity, as :func:`read_permutations`
            reads them.
        trials: number of draws, 1 to 10.
        shots: images for each identity and camera; all if there are fewer.

    Raises:
        ValueError: an identity or image is missing on one side.
    """
    groups = _groups(pids, camids, names)
    _counted(trials, "trials")
    _counted(shots, "shots")
    rows: Draws = []
    numbered = {
        key: {_number(names[row]): row for row in sorted(own)} for key, own in groups.items()
    }
    for trial in range(trials):
        drawn = []
        for pid, camera in sorted(groups):
            order = permutations.get((camera, pid))
            if order is None or len(order) < trials:
                got = "none" if order is None else f"{len(order)}"
                raise ValueError(
                    f"expected {trials} permutations of the images of identity {pid} in camera "
                    f"{camera} in the permutation file, got {got}; is it of this set?"
                )
            own = numbered[pid, camera]
            for number in order[trial][:shots].tolist():
                if number not in own:
                    raise ValueError(
                        f"the permutation file draws image {number} of identity {pid} in camera "
                        f"{camera}, which does not exist; restore the data set"
                    )
                drawn.append(own[number])
        rows.append(np.array(drawn, np.int64))
    return rows


def read_permutations(file: Path) -> Permutations:
    """Read ``rand_perm_cam.mat`` of SYSU-MM01.

    Raises:
        ImportError: scipy is missing.
        ValueError: the file is damaged or holds something else.
    """
    from scipy.io import loadmat

    found: Permutations = {}
    try:
        # Cells of cameras, of cells of identities, of matrices (trials, images).
        cameras = np.ravel(loadmat(file, variable_names=["rand_perm_cam"])["rand_perm_cam"])
        for camera, cell in enumerate(cameras, start=1):
            for pid, order in enumerate(np.ravel(cell), start=1):
                if order.size:
                    found[camera, pid] = np.atleast_2d(order).astype(np.int64)
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise ValueError(
            f"{file}: expected SYSU-MM01's permutations (rand_perm_cam), got: {error!r}; unpack it "
            "again, or move it away to draw by random.seed(trial)"
        ) from error
    if len(cameras) != 6 or not found:
        raise ValueError(
            f"{file}: expected permutations of 6 cameras, got {len(cameras)}; unpack it again, or "
            "move it away to draw by random.seed(trial)"
        )
    return found


def _groups(
    pids: ArrayLike, camids: ArrayLike, names: Sequence[str]
) -> dict[tuple[int, int], list[int]]:
    """Group positions by (identity, camera), in the order of the names."""
    groups: dict[tuple[int, int], list[int]] = {}
    keys = list(zip(np.asarray(pids).tolist(), np.asarray(camids).tolist(), names, strict=True))
    for row in sorted(range(len(keys)), key=lambda row: keys[row]):
        groups.setdefault(keys[row][:2], []).append(row)
    return groups


def _number(name: str) -> int:
    match = re.search(r"(\d+)\.\w+$", name)
    if match is None:
        raise ValueError(f"expected a number as the name of an image, got {name}")
    return int(match[1])


def _counted(value: int, what: str) -> int:
    if value < 1:
        raise ValueError(f"expected {what} >= 1, got {value}")
    return value
