"""Reading body files: ours, and the user's SMPL and SMPL-X, without running their code.

Each may be .npz or .pkl. The .pkl files of SMPL are Python 2 pickles that hold numpy, scipy.sparse
and chumpy objects; :mod:`~fastreid_ext.bodies.safe_pickle` reads them.

Letters: V vertices, F faces.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.bodies.parts import PARENTS
from fastreid_ext.bodies.safe_pickle import dense, read_pickle

_SMPL_KEYS = ("v_template", "f", "weights", "J_regressor", "shapedirs", "kintree_table")
# SMPL-X's 55 joints: 0-21 are SMPL's, then jaw, two eyes, 15 left and 15 right finger joints.
_SMPLX_JOINTS = 55
_SMPLX_EYES = (23, 24)
_SMPLX_TO_SMPL = np.array([*range(22), 15, 15, 15, *[22] * 15, *[23] * 15])
_SMPLX_MIDDLE_FINGERS = (28, 43)  # where SMPL has its two hand joints


def read_body_file(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a body file under SMPL's keys, reduced to 24 joints and 10 shapes, checked.

    Returns:
        ``v_template`` (V, 3), ``f`` (F, 3) int32, ``weights`` (V, 24), ``J_regressor`` (24, V),
        ``shapedirs`` (V, 3, 10), ``eye_weight`` (V,), and where the file has them ``posedirs`` (V,
        3, 207), ``part`` (V,) int8, ``gender_means`` (2, 10), ``gender_spreads`` (2, 10, 10);
        float32 unless said.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no body file at {path}; give the path of a SMPL or SMPL-X file (.npz or .pkl, from "
            "https://smpl.is.tue.mpg.de or https://smpl-x.is.tue.mpg.de), or none for the "
            "shipped free body"
        )
    if path.suffix not in (".npz", ".pkl"):
        raise ValueError(f"expected a body file ending in .npz or .pkl, got {path}")
    raw = _read_npz(path) if path.suffix == ".npz" else _read_pickle(path)
    missing = [key for key in _SMPL_KEYS if key not in raw]
    if missing:
        raise ValueError(
            f"{path}: expected the keys {list(_SMPL_KEYS)} of a SMPL or SMPL-X body, "
            f"missing {missing}; is this a pose file (AMASS) or another kind of model?"
        )
    arrays = {key: dense(value) for key, value in raw.items()}
    parents = arrays["kintree_table"][0]
    joints = len(parents)
    arrays["eye_weight"] = np.zeros(len(arrays["v_template"]))
    if joints == _SMPLX_JOINTS:
        arrays = _reduce_smplx(arrays)
    elif joints != 24:
        raise ValueError(f"{path}: expected 24 joints (SMPL) or 55 (SMPL-X), got {joints}")
    if tuple(parents[1:22].astype(int)) != PARENTS[1:22]:
        raise ValueError(
            f"{path}: expected SMPL's joint tree in kintree_table, "
            f"got the parents {parents.tolist()}"
        )
    return _checked(arrays, path)


_OPTIONAL_KEYS = ("posedirs", "part", "gender_means", "gender_spreads")


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        try:
            return {key: file[key] for key in (*_SMPL_KEYS, *_OPTIONAL_KEYS) if key in file}
        except ValueError as error:
            raise ValueError(
                f"{path}: expected plain arrays, got pickled objects inside the .npz; "
                "use the .pkl file of the same model, which is read safely"
            ) from error


def _read_pickle(path: Path) -> dict[str, Any]:
    raw = read_pickle(path, chumpy=True, content="a body file")
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected a dictionary of arrays, got {type(raw).__name__}")
    return {key: raw[key] for key in (*_SMPL_KEYS, *_OPTIONAL_KEYS) if key in raw}


def _reduce_smplx(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """SMPL-X with jaw, eyes and fingers at rest, as a body of 24 joints."""
    if arrays["weights"].shape[-1] != _SMPLX_JOINTS or len(arrays["J_regressor"]) != _SMPLX_JOINTS:
        return arrays  # the shape check names the culprit
    weights = np.zeros((len(arrays["weights"]), 24))
    for joint, target in enumerate(_SMPLX_TO_SMPL):
        weights[:, target] += arrays["weights"][:, joint]
    reduced = dict(arrays)
    reduced["weights"] = weights
    reduced["eye_weight"] = arrays["weights"][:, _SMPLX_EYES].sum(axis=1)
    reduced["J_regressor"] = arrays["J_regressor"][[*range(22), *_SMPLX_MIDDLE_FINGERS]]
    if "posedirs" in arrays:
        corrections = arrays["posedirs"].reshape(len(weights), 3, -1)
        of_hands = np.zeros((len(weights), 3, 18))
        reduced["posedirs"] = np.concatenate([corrections[:, :, : 21 * 9], of_hands], axis=2)
    return reduced


def _checked(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Right shapes and types, finite values, faces within the mesh."""
    count = len(arrays["v_template"])
    shapes = {
        "v_template": (count, 3), "f": (len(arrays["f"]), 3), "weights": (count, 24),
        "J_regressor": (24, count),
        "posedirs": (count, 3, 207), "part": (count,), "eye_weight": (count,),
        "gender_means": (2, 10), "gender_spreads": (2, 10, 10),
    }  # fmt: skip
    shapes_dirs = arrays["shapedirs"]
    if shapes_dirs.ndim != 3 or shapes_dirs.shape[:2] != (count, 3) or shapes_dirs.shape[2] < 10:
        raise ValueError(
            f"{path}: expected shapedirs ({count}, 3, 10 or more), got {shapes_dirs.shape}"
        )
    checked = {"shapedirs": np.ascontiguousarray(shapes_dirs[:, :, :10], dtype=np.float32)}
    for key, shape in shapes.items():
        if key not in arrays:
            continue
        if arrays[key].shape != shape:
            raise ValueError(f"{path}: expected {key} of shape {shape}, got {arrays[key].shape}")
        kind = {"f": np.int32, "part": np.int8}.get(key, np.float32)
        checked[key] = np.ascontiguousarray(arrays[key], dtype=kind)
    for key, values in checked.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"{path}: expected finite numbers in {key}, got NaN or infinity; "
                "is the file damaged?"
            )
    if checked["f"].min() < 0 or checked["f"].max() >= count:
        raise ValueError(
            f"{path}: expected faces within {count} vertices, got up to {checked['f'].max()}"
        )
    return checked
