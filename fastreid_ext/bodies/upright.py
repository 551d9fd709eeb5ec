"""Whether people stand: the tilt of the line from the ankles to the head.

It is small for walks, bows and kneeling alike, about 90 degrees for a person who lies, and about
180 for one whose axes are upside down. Letters: N poses.
"""

import functools

import numpy as np

from fastreid_ext.bodies.body_model import BodyModel, load_body
from fastreid_ext.bodies.parts import joint_index

# Degrees. The built-in unusual poses reach 48, cameras look down by up to 30 more.
LYING_DEG = 70.0
UPSIDE_DOWN_DEG = 115.0
_ANKLES = [joint_index("left_ankle"), joint_index("right_ankle")]


@functools.lru_cache(maxsize=1)
def _free_body() -> BodyModel:
    return load_body()


def tilts_deg(poses: np.ndarray, up: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> np.ndarray:
    """Measure the angle in [0, 180] degrees between ``up`` and the line from ankles to head, (N,).

    Args:
        poses: (N, 24, 3) axis-angle vectors in radians; NaN gives NaN.
        up: upward direction in the axes of the poses, of length 1.
    """
    still = np.zeros((len(poses), 3))
    joints = _free_body().joints_batch(np.zeros((len(poses), 10)), poses, still)
    line = joints[:, joint_index("head")] - joints[:, _ANKLES].mean(axis=1)
    cosine = line @ np.array(up) / np.linalg.norm(line, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def posture(tilt_deg: float) -> str:
    """Name the posture of a tilt: "upright", "lying" or "upside down"."""
    if tilt_deg > UPSIDE_DOWN_DEG:
        return "upside down"
    return "lying" if tilt_deg > LYING_DEG else "upright"
