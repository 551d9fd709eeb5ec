"""Captured motion as SMPL parameters: AMASS, AIST++, 4D-Humans and plain SMPL arrays.

Results are in this package's axes (y up, metres, radians), whatever the axes of the file:

- AMASS: ``poses``, ``trans``, ``betas`` and ``mocap_framerate`` (or ``mocap_frame_rate``); z up
- AIST++: ``smpl_poses``, ``smpl_trans``, ``smpl_scaling``, in a pickle; y up, 60 frames per second
- 4D-Humans: see :mod:`~fastreid_ext.bodies.hmr2_files`; axes of the camera, y down
- SMPL: ``poses`` or ``pose``, and where known ``betas``, ``trans``, ``frame_rate``; y up

Files are ``.npz`` or ``.pkl``; a pickle's code is not run. Letters: T frames.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from fastreid_ext.bodies.hmr2_files import hmr2_results, is_hmr2, read_arrays
from fastreid_ext.bodies.safe_pickle import dense
from fastreid_ext.bodies.upright import posture, tilts_deg

# Values per frame of the known layouts: SMPL (24 joints), SMPL-H (52), SMPL-X (55).
_LAYOUTS = {72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}
_RATES = ("mocap_framerate", "mocap_frame_rate")
_USUAL_RATE = 30.0  # frames per second where a file does not say
_Z_UP_TO_Y_UP = Rotation.from_euler("x", -90, degrees=True)
_CAMERA_TO_Y_UP = Rotation.from_euler("x", 180, degrees=True)
_LARGEST_ANGLE = 2 * np.pi + 0.1  # of an axis-angle vector; captured ones may exceed pi
_LARGEST_PATH_M = 200.0


class NotUprightError(ValueError):
    """A motion whose person lies or stands on the head in most frames."""


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """A captured motion.

    Attributes:
        poses: (T, 24, 3) axis-angle in radians; the two hand joints are 0 (fingers are not carried
            over).
        betas: (10,) shape coefficients, of SMPL's shape space and not of the free body's.
        translations: (T, 3) metres. They place the body of the file; put another body on the ground
            with :func:`~fastreid_ext.bodies.poses.on_ground`.
        frame_rate: number of frames per second; 30 where the file does not say.
    """

    poses: np.ndarray
    betas: np.ndarray
    translations: np.ndarray
    frame_rate: float


def read_motion(
    path: str | Path, *, z_up: bool | None = None, expect_upright: bool = True
) -> Motion:
    """Read a motion in one of the layouts of the module docstring.

    Args:
        path: ``.npz`` or ``.pkl`` file of one person's motion.
        z_up: whether the vertical axis of the file is z instead of y; None takes the layout's own.
            Results of 4D-Humans are in camera axes and ignore it.
        expect_upright: whether a person who lies or stands on the head in most frames is an error,
            since that nearly always means other axes.

    Raises:
        FileNotFoundError: there is no such file.
        NotUprightError: the person is not upright in most frames.
        ValueError: unknown keys, wrong joint count, NaN, degrees instead of radians, millimetres or
            centimetres instead of metres, or chumpy objects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no motion file at {path}; AMASS files come from https://amass.is.tue.mpg.de"
        )
    content = read_arrays(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dictionary of arrays, got {type(content).__name__}")
    layout = _layout(content, path)
    poses, translations, betas, rate = _ARRAYS_OF[layout](content, path)
    poses = _smpl_joints(np.asarray(poses, dtype=np.float64), path)
    translations = np.asarray(translations, dtype=np.float64)
    betas = np.asarray(betas, dtype=np.float64)
    _check(path, poses, translations, betas)
    turn = Rotation.identity()
    if layout == "4D-Humans":
        turn = _CAMERA_TO_Y_UP
    elif (layout == "AMASS") if z_up is None else z_up:
        turn = _Z_UP_TO_Y_UP
    poses[:, 0] = (turn * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    poses[:, 22:] = 0
    if expect_upright:
        _expect_upright(path, poses)
    return Motion(poses, betas[:10], turn.apply(translations), float(rate))


def _layout(content: dict, path: Path) -> str:
    if is_hmr2(content):
        return "4D-Humans"
    if "smpl_poses" in content:
        return "AIST++"
    if "poses" in content and any(key in content for key in _RATES):
        return "AMASS"
    if "poses" in content or "pose" in content:
        return "SMPL"
    keys = sorted(map(str, content))
    raise ValueError(
        f"{path}: expected the keys of a SMPL motion (AMASS: poses, trans, betas; AIST++: "
        "smpl_poses, smpl_trans; 4D-Humans: global_orient, body_pose; or pose), "
        f"got {keys[:8]}; key points (keypoints3d) must be fitted first, and AMASS's shape.npz "
        "files hold no motion"
    )


def _of_amass(content: dict, path: Path) -> tuple[Any, Any, Any, float]:
    missing = [key for key in ("trans", "betas") if key not in content]
    if missing:
        raise ValueError(
            f"{path}: expected the keys poses, trans and betas of AMASS, missing {missing}"
        )
    rate = next(float(content[key]) for key in _RATES if key in content)
    return content["poses"], content["trans"], content["betas"], rate


def _of_aist(content: dict, path: Path) -> tuple[Any, Any, Any, float]:
    missing = [key for key in ("smpl_trans", "smpl_scaling") if key not in content]
    if missing:
        raise ValueError(
            f"{path}: expected the keys smpl_poses, smpl_trans and smpl_scaling of AIST++, "
            f"missing {missing}"
        )
    scaling = float(dense(content["smpl_scaling"]).ravel()[0])
    return content["smpl_poses"], dense(content["smpl_trans"]) / scaling, np.zeros(10), 60.0


def _of_hmr2(content: dict, path: Path) -> tuple[Any, Any, Any, float]:
    results = hmr2_results(content, path)
    places = results.translations
    places = np.zeros((len(results.poses), 3)) if places is None else places
    return results.poses, places, results.betas.mean(axis=0), _frame_rate(content)


def _of_smpl(content: dict, path: Path) -> tuple[Any, Any, Any, float]:
    poses = dense(content["poses"] if "poses" in content else content["pose"])
    poses = poses[None] if poses.shape in ((72,), (24, 3)) else poses
    translations = content.get("trans", np.zeros((len(poses), 3)))
    betas = dense(content.get("betas", np.zeros(10)))
    betas = betas[0] if betas.ndim == 2 else betas
    return poses, np.atleast_2d(dense(translations)), betas, _frame_rate(content)


_ARRAYS_OF = {"AMASS": _of_amass, "AIST++": _of_aist, "4D-Humans": _of_hmr2, "SMPL": _of_smpl}


def _frame_rate(content: dict) -> float:
    return float(content["frame_rate"]) if "frame_rate" in content else _USUAL_RATE


def _smpl_joints(poses: np.ndarray, path: Path) -> np.ndarray:
    """Reshape poses to (T, 24, 3), hands at rest; a ValueError names the known layouts."""
    if poses.ndim == 3 and poses.shape[2] == 3:
        poses = poses.reshape(len(poses), -1)
    if poses.ndim != 2 or poses.shape[1] not in _LAYOUTS or len(poses) == 0:
        known = ", ".join(f"{width} ({name})" for width, name in _LAYOUTS.items())
        raise ValueError(f"{path}: expected poses (T, n) with n one of {known}, got {poses.shape}")
    body = np.zeros((len(poses), 24, 3))
    body[:, :22] = poses[:, :66].reshape(-1, 22, 3)
    return body


def _check(path: Path, poses: np.ndarray, translations: np.ndarray, betas: np.ndarray) -> None:
    if translations.shape != (len(poses), 3):
        raise ValueError(f"{path}: expected trans ({len(poses)}, 3), got {translations.shape}")
    if betas.ndim != 1 or len(betas) < 10:
        raise ValueError(f"{path}: expected at least 10 betas, got {betas.shape}")
    for name, values in (("poses", poses), ("trans", translations), ("betas", betas)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{path}: expected finite {name}, got NaN or infinity; is the file damaged?"
            )
    largest = np.linalg.norm(poses, axis=2).max()
    if largest > _LARGEST_ANGLE:
        raise ValueError(
            f"{path}: expected axis-angle vectors in radians, got angles up to {largest:.0f}; "
            "divide degrees by 57.3"
        )
    reach = np.ptp(translations, axis=0).max()
    if reach > _LARGEST_PATH_M:
        raise ValueError(
            f"{path}: expected trans in metres, got a path of {reach:.0f}; divide millimetres by "
            "1000, centimetres by 100"
        )


def _expect_upright(path: Path, poses: np.ndarray) -> None:
    tilt = float(np.median(tilts_deg(poses)))
    if posture(tilt) == "upright":
        return
    advice = "set z_up" if posture(tilt) == "lying" else "turn the file by 180 degrees about x"
    raise NotUprightError(
        f"{path}: expected a person who stands in most frames, got one who is {posture(tilt)} "
        f"(tilted by {tilt:.0f} degrees in the median frame); if its vertical axis is another, "
        f"{advice}, else leave the file out"
    )
