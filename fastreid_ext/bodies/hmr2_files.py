"""Results of 4D-Humans (HMR2 and its tracker PHALP) as arrays, as body fits.

Two layouts are known. HMR2's own names, one array each, in an ``.npz`` or a plain pickle, for N
persons: ``global_orient`` and ``body_pose`` (rotation matrices or axis-angle vectors), ``betas``,
``img_size`` (width, height), and either ``pred_cam`` with ``box_center`` and ``box_size`` or the
translation ``pred_cam_t_full``. And the tracker's pickle: frame name -> {"smpl", "camera", "size",
"bbox"}, lists with an entry per person. Poses are in camera axes: x right, y down, z forward.

Letters: N persons or frames.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.body_model import axis_angles
from fastreid_ext.bodies.safe_pickle import dense, read_pickle

_FOCAL_PER_PIXEL = 5000 / 256  # HMR2's focal length, per pixel of the image's longer side
_NAMES = ("file_names", "img_name", "imgname", "img_path")
_TRANSLATIONS = ("pred_cam_t_full", "cam_t", "camera")


@dataclasses.dataclass(frozen=True, eq=False)
class Hmr2Results:
    """People that 4D-Humans found.

    Attributes:
        file_names: (N,) names of the images or frames as the file has them; "" where it has none.
        betas: (N, 10) shape coefficients.
        poses: (N, 24, 3) axis-angle vectors in radians, in camera axes.
        translations: (N, 3) metres in camera axes; None where the file has no camera.
        focal_px: (N,) focal lengths in pixels of the image; None where the file has no camera.
        image_sizes: (N, 2) height and width of the images; None where the file has no camera.
    """

    file_names: np.ndarray
    betas: np.ndarray
    poses: np.ndarray
    translations: np.ndarray | None
    focal_px: np.ndarray | None
    image_sizes: np.ndarray | None


def is_hmr2(content: Any) -> bool:
    """Tell whether the content of a file has one of the two layouts."""
    if not isinstance(content, dict):
        return False
    return {"global_orient", "body_pose"} <= set(content) or _is_tracked(content)


def read_arrays(path: str | Path) -> Any:
    """Read an ``.npz`` or a plain pickle of arrays, without running code of it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file ends otherwise, or holds objects instead of arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of poses at {path}")
    if path.suffix == ".pkl":
        return read_pickle(path, chumpy=False, content="a file of poses")
    if path.suffix != ".npz":
        raise ValueError(f"expected a file ending in .npz or .pkl, got {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except ValueError as error:
        raise ValueError(
            f"{path}: expected plain arrays, got {error}; save arrays with np.savez, not objects"
        ) from error


def hmr2_results(content: dict, path: Path) -> Hmr2Results:
    """Convert the content of a file of 4D-Humans.

    Args:
        content: content of the file as :func:`read_arrays` gives it.
        path: name of the file, for error messages.

    Raises:
        ValueError: arrays are missing or have other shapes.
    """
    if _is_tracked(content):
        content = _flat(content, path)
    count = len(content["global_orient"])
    poses = np.concatenate(
        [
            _rotations(content["global_orient"], 1, "global_orient", path),
            _rotations(content["body_pose"], 23, "body_pose", path),
        ],
        axis=1,
    )
    betas = dense(content.get("betas", np.zeros((count, 10)))).reshape(count, -1)[:, :10]
    names = next((content[key] for key in _NAMES if key in content), [""] * count)
    translations, focal, sizes = _cameras(content, count, path)
    return Hmr2Results(
        np.asarray(names, dtype=str), betas.astype(float), poses, translations, focal, sizes
    )


def fits_from_hmr2(path: str | Path, file_name: Callable[[str], str] | None = None) -> BodyFits:
    """Convert a result file of 4D-Humans to body fits.

    The principal point is the middle of the image, as HMR2 assumes. Of several persons of one
    image the file should hold the one that the crop shows; of the tracker's the largest is taken.

    Args:
        path: ``.npz`` or plain pickle in one of the layouts of the module docstring.
        file_name: function from a name in the file to one relative to the data set's folder; None
            keeps names as they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another layout, or no names or no cameras.
    """
    path = Path(path)
    content = read_arrays(path)
    if not is_hmr2(content):
        found = sorted(map(str, content))[:8] if isinstance(content, dict) else type(content)
        raise ValueError(
            f"{path}: expected results of 4D-Humans (keys global_orient and body_pose, or the "
            f"tracker's frames), got {found}; docs/body_fits.md shows how to save them"
        )
    results = hmr2_results(content, path)
    if results.translations is None or not all(results.file_names.tolist()):
        raise ValueError(
            f"{path}: expected names of the images ({', '.join(_NAMES)}), img_size, and pred_cam "
            "with box_center and box_size or pred_cam_t_full, to place the bodies; save them, too"
        )
    rename = file_name or str
    return BodyFits(
        file_names=[rename(name) for name in results.file_names.tolist()],
        betas=results.betas,
        poses=results.poses,
        translations=results.translations,
        focal_px=results.focal_px,
        centre_px=results.image_sizes[:, ::-1] / 2,
        image_sizes=results.image_sizes,
    )


def _is_tracked(content: dict) -> bool:
    if not content:
        return False
    first = next(iter(content.values()))
    return isinstance(first, dict) and "smpl" in first


def _flat(frames: dict, path: Path) -> dict[str, Any]:
    """Take the largest person of each of the tracker's frames, in HMR2's names."""
    rows = []
    for name, frame in sorted(frames.items()):
        if not frame["smpl"]:
            continue
        areas = [box[2] * box[3] for box in frame.get("bbox", [])]
        person = int(np.argmax(areas)) if areas else 0
        size = np.asarray(frame["size"][person]).ravel()
        row = dict(frame["smpl"][person])
        row |= {"camera": frame["camera"][person], "img_size": size[::-1], "file_names": str(name)}
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: expected persons in the tracker's frames, got none")
    return {
        key: np.stack([np.squeeze(dense(row[key])) for row in rows])
        for key in ("global_orient", "body_pose", "betas", "camera", "img_size", "file_names")
    }


def _rotations(values: Any, joints: int, name: str, path: Path) -> np.ndarray:
    """Convert rotation matrices or axis-angle vectors of ``joints`` joints to (N, joints, 3)."""
    values = np.asarray(dense(values), dtype=np.float64)
    count = len(values)
    if values.size == count * joints * 9:
        matrices = values.reshape(-1, 3, 3)
        if not np.isfinite(matrices).all():
            raise ValueError(f"{path}: expected finite {name}, got NaN or infinity in it")
        return axis_angles(matrices).reshape(count, joints, 3)
    if values.size == count * joints * 3:
        return values.reshape(count, joints, 3)
    raise ValueError(
        f"{path}: expected {name} with {joints} rotations per person (SMPL's), got {values.shape}; "
        "of SMPL-X results keep the first 21 joints of body_pose and add two hands at rest"
    )


def _cameras(
    content: dict, count: int, path: Path
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Compute translations (N, 3), focal lengths (N,) and image sizes (N, 2), or three Nones."""
    if "img_size" not in content:
        return None, None, None
    width_height = dense(content["img_size"]).reshape(count, 2).astype(float)
    focal = _FOCAL_PER_PIXEL * width_height.max(axis=1)
    if "focal_length" in content:
        focal = dense(content["focal_length"]).reshape(count, -1)[:, 0].astype(float)
    sizes = width_height[:, ::-1].round().astype(np.int64)
    for key in _TRANSLATIONS:
        if key in content:
            return dense(content[key]).reshape(count, 3).astype(float), focal, sizes
    if not {"pred_cam", "box_center", "box_size"} <= set(content):
        return None, None, None
    scale, x, y = dense(content["pred_cam"]).reshape(count, 3).astype(float).T
    centre = dense(content["box_center"]).reshape(count, 2).astype(float)
    box = dense(content["box_size"]).reshape(count).astype(float) * scale
    if (box <= 0).any():
        raise ValueError(f"{path}: expected a positive scale in pred_cam and a positive box_size")
    # HMR2 sees the box through a weak perspective of `scale`; this is the same view of the image.
    off_axis = 2 * (centre - width_height / 2) / box[:, None]
    translations = np.stack([x + off_axis[:, 0], y + off_axis[:, 1], 2 * focal / box], axis=1)
    return translations, focal, sizes
