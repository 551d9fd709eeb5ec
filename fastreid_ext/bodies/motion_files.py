"""Reading captured motion in the layout of AMASS (.npz with ``poses``, ``betas``, ``trans``).

AMASS files are z up; results are in this package's axes (y up, metres, radians). Letters: T frames.
"""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

# Values per frame of the known layouts: SMPL (24 joints), SMPL-H (52), SMPL-X (55).
_LAYOUTS = {72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}
_Z_UP_TO_Y_UP = Rotation.from_euler("x", -90, degrees=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """A captured motion.

    Attributes:
        poses: (T, 24, 3) axis-angle in radians; the two hand joints are 0 (fingers are not carried
            over).
        betas: (10,) shape coefficients, of SMPL's shape space and not of the free body's.
        translations: (T, 3) metres. They place the body of the file; put another body on the ground
            with :func:`~fastreid_ext.bodies.poses.on_ground`.
        frame_rate: number of frames per second.
    """

    poses: np.ndarray
    betas: np.ndarray
    translations: np.ndarray
    frame_rate: float


def load_motion(path: str | Path, *, z_up: bool = True) -> Motion:
    """Read an AMASS-style file.

    Args:
        path: ``.npz`` with ``poses`` (T, 72, 156 or 165), ``trans`` (T, 3), ``betas`` (10 or more)
            and ``mocap_framerate`` or ``mocap_frame_rate``.
        z_up: whether the file's vertical axis is z (AMASS) and is turned to y.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no motion file at {path}; AMASS files come from https://amass.is.tue.mpg.de"
        )
    with np.load(path, allow_pickle=False) as file:
        missing = [key for key in ("poses", "trans", "betas") if key not in file]
        if missing:
            raise ValueError(
                f"{path}: expected the keys poses, trans and betas of AMASS, "
                f"missing {missing}; AMASS's shape.npz files hold no motion"
            )
        poses = np.asarray(file["poses"], dtype=np.float64)
        translations = np.asarray(file["trans"], dtype=np.float64)
        betas = np.asarray(file["betas"], dtype=np.float64)
        rates = [float(file[key]) for key in ("mocap_framerate", "mocap_frame_rate") if key in file]
    _check(path, poses, translations, betas, rates)
    body = poses[:, :66].reshape(-1, 22, 3).copy()
    if z_up:
        body[:, 0] = (_Z_UP_TO_Y_UP * Rotation.from_rotvec(body[:, 0])).as_rotvec()
        translations = _Z_UP_TO_Y_UP.apply(translations)
    hands = np.zeros((len(body), 2, 3))
    return Motion(np.concatenate([body, hands], axis=1), betas[:10], translations, rates[0])


def _check(
    path: Path, poses: np.ndarray, translations: np.ndarray, betas: np.ndarray, rates: list[float]
) -> None:
    if poses.ndim != 2 or poses.shape[1] not in _LAYOUTS or len(poses) == 0:
        known = ", ".join(f"{width} ({name})" for width, name in _LAYOUTS.items())
        raise ValueError(f"{path}: expected poses (T, n) with n one of {known}, got {poses.shape}")
    if translations.shape != (len(poses), 3):
        raise ValueError(f"{path}: expected trans ({len(poses)}, 3), got {translations.shape}")
    if betas.ndim != 1 or len(betas) < 10:
        raise ValueError(f"{path}: expected at least 10 betas, got {betas.shape}")
    if not rates:
        raise ValueError(
            f"{path}: expected mocap_framerate or mocap_frame_rate, got neither; add it to the file"
        )
    for name, values in (("poses", poses), ("trans", translations), ("betas", betas)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{path}: expected finite {name}, got NaN or infinity; is the file damaged?"
            )
