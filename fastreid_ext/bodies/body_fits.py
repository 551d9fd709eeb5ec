"""SMPL fits of the images of a data set, in one file: ``body_fits.npz`` (docs/body_fits.md).

A fit is a body in front of the camera of one image, in the camera's axes: metres, x right, y down,
z forward, the camera at the origin. Letters: N images.
"""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fastreid_ext.atomic import atomic_write
from fastreid_ext.bodies.condition_maps import MapRequest
from fastreid_ext.bodies.crop_camera import CropCamera

FITS_FILE = "body_fits.npz"  # name of the file in the folder of its data set
_SHAPES = {
    "file_names": (),
    "betas": (10,),
    "poses": (24, 3),
    "translations": (3,),
    "focal_px": (2,),
    "centre_px": (2,),
    "image_sizes": (2,),
}
_OPTIONAL_SHAPES = {"azimuth_deg": (), "elevation_deg": (), "pose_names": ()}
_OTHER_FILES = {
    "mocap_framerate": "an AMASS motion",
    "mocap_frame_rate": "an AMASS motion",
    "smpl_poses": "an AIST++ motion",
    "v_template": "a body model",
    "pred_cam": "a result of 4D-Humans, which bodies.hmr2_files.fits_from_hmr2 converts",
    "global_orient": "a result of 4D-Humans, which bodies.hmr2_files.fits_from_hmr2 converts",
}


@dataclasses.dataclass(frozen=True, eq=False)
class BodyFits:
    """SMPL fits of N images.

    Attributes:
        file_names: (N,) names of the images, relative to the folder of the data set.
        betas: (N, 10) shape coefficients, of the body model that the maps will be rendered with.
        poses: (N, 24, 3) axis-angle vectors in radians; row 0 is the global orientation in camera
            axes, so it is about half a turn for a person who stands upright.
        translations: (N, 3) SMPL's translation in camera axes, in metres, added after posing.
        focal_px: (N, 2) focal lengths (x, y) in pixels of the image; (N,) for equal ones.
        centre_px: (N, 2) pixel (x, y) of the optical axis, which may lie outside the image.
        image_sizes: (N, 2) height and width of the images in pixels.
        azimuth_deg: (N,) azimuths of the cameras in degrees, 0 in front, 90 at the body's left; or
            None.
        elevation_deg: (N,) elevations of the cameras in degrees, positive looks down; or None.
        pose_names: (N,) names of the poses, such as "walking"; or None.

    Raises:
        ValueError: an array has another shape, or a file name appears twice.

    Example:
        >>> fits = BodyFits(
        ...     ["a.jpg"], np.zeros((1, 10)), np.zeros((1, 24, 3)), [[0, 1, 5]], [500], [[32, 64]],
        ...     [[128, 64]],
        ... )
        >>> fits.request(0, height=256, width=128).camera.focal_px
        (1000.0, 1000.0)
    """

    file_names: np.ndarray
    betas: np.ndarray
    poses: np.ndarray
    translations: np.ndarray
    focal_px: np.ndarray
    centre_px: np.ndarray
    image_sizes: np.ndarray
    azimuth_deg: np.ndarray | None = None
    elevation_deg: np.ndarray | None = None
    pose_names: np.ndarray | None = None

    def __post_init__(self) -> None:
        names = np.asarray(self.file_names, dtype=str)
        focal = np.asarray(self.focal_px, dtype=np.float64)
        if focal.ndim == 1:
            focal = np.stack([focal, focal], axis=1)
        object.__setattr__(self, "focal_px", focal)
        for key, shape in (_SHAPES | _OPTIONAL_SHAPES).items():
            values = getattr(self, key)
            if values is None and key in _OPTIONAL_SHAPES:
                continue
            values = np.asarray(values, dtype=_dtype(key))
            if values.shape != (len(names), *shape):
                raise ValueError(_wrong_shape(key, values.shape, (len(names), *shape)))
            object.__setattr__(self, key, values)
        if len(self._rows) < len(names):
            twice = next(name for i, name in enumerate(names) if self._rows[name] != i)
            raise ValueError(
                f"expected one fit per image, got several for {twice}; keep the person the crop "
                "is centred on"
            )

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.file_names.tolist())}

    def __len__(self) -> int:
        return len(self.file_names)

    def __contains__(self, file_name: str) -> bool:
        return file_name in self._rows

    def index(self, file_name: str) -> int:
        """Find the row of an image.

        Raises:
            KeyError: there is no fit of that image.
        """
        if file_name not in self._rows:
            raise KeyError(
                f"no body fit of {file_name}; names are relative to the data set's folder"
            )
        return self._rows[file_name]

    def camera(self, index: int) -> CropCamera:
        """Make the camera of an image, at the image's own size; its world is the camera's axes."""
        height, width = self.image_sizes[index].tolist()
        return CropCamera(
            rotation=np.eye(3),
            position=np.zeros(3),
            focal_px=tuple(self.focal_px[index].tolist()),
            centre_px=tuple(self.centre_px[index].tolist()),
            height=height,
            width=width,
        )

    def request(
        self, index: int, *, height: int | None = None, width: int | None = None
    ) -> MapRequest:
        """Make the request of the maps that lie on an image.

        Args:
            index: row of the image, see :meth:`index`.
            height: height in pixels to which the whole image is scaled; None keeps its own.
            width: width in pixels to which the whole image is scaled; None keeps its own.
        """
        camera = self.camera(index)
        if height is not None or width is not None:
            camera = camera.resized(height or camera.height, width or camera.width)
        return MapRequest(self.betas[index], self.poses[index], self.translations[index], camera)

    def viewpoint(self, index: int) -> tuple[float, float]:
        """Compute azimuth in [0, 360) and elevation in degrees from which an image was taken.

        They are those of the file where it has them. Else they are the direction of the camera in
        the axes of the pelvis, which a walk tilts by a few degrees and a bow by many.
        """
        if self.azimuth_deg is not None and self.elevation_deg is not None:
            return float(self.azimuth_deg[index]) % 360, float(self.elevation_deg[index])
        pelvis = Rotation.from_rotvec(self.poses[index, 0])
        x, y, z = pelvis.inv().apply(-self.translations[index])
        azimuth = np.degrees(np.arctan2(x, z)) % 360
        return float(azimuth), float(np.degrees(np.arctan2(y, np.hypot(x, z))))

    def subset(self, rows: Sequence[int]) -> "BodyFits":
        """Select the fits of some rows, in the given order."""
        rows = np.asarray(rows, dtype=int)
        chosen = {key: getattr(self, key) for key in (*_SHAPES, *_OPTIONAL_SHAPES)}
        return BodyFits(
            **{key: None if values is None else values[rows] for key, values in chosen.items()}
        )

    def write(self, path: str | Path) -> None:
        """Write the file, atomically."""
        arrays = {key: getattr(self, key) for key in (*_SHAPES, *_OPTIONAL_SHAPES)}
        arrays = {key: values for key, values in arrays.items() if values is not None}
        with atomic_write(path) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def read(cls, path: str | Path) -> "BodyFits":
        """Read a file; nothing in it is executed.

        Args:
            path: file that :meth:`write` or the user's own script made, or a folder with a
                ``body_fits.npz``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: keys or shapes are not those of the format.
        """
        path = Path(path)
        path = path / FITS_FILE if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(
                f"no body fits at {path}; docs/body_fits.md says how to make them from the results "
                "of 4D-Humans; tools/render_persons.py writes those of a rendered set, also of one "
                "that is complete"
            )
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{path}: expected an .npz file of plain arrays, got {error}; save names as str "
                "and everything else as numbers, not as objects"
            ) from error
        try:
            _check_keys(arrays)
            return cls(**arrays)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _dtype(key: str) -> type:
    if key in ("file_names", "pose_names"):
        return str
    return np.int64 if key == "image_sizes" else np.float64


def _wrong_shape(key: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    advice = f"save one row for each of the {wanted[0]} file_names"
    if key == "poses":
        advice = (
            "SMPL has 24 joints, the global orientation first; of SMPL-H and SMPL-X keep the first "
            "22 and add two hands at rest (zeros)"
        )
    return f"expected {key} of shape {wanted}, got {found}; {advice}"


def _check_keys(arrays: dict[str, np.ndarray]) -> None:
    unknown = sorted(set(arrays) - {*_SHAPES, *_OPTIONAL_SHAPES})
    missing = [key for key in _SHAPES if key not in arrays]
    if not unknown and not missing:
        return
    kinds = [_OTHER_FILES[key] for key in unknown if key in _OTHER_FILES]
    looks_like = f"; this looks like {kinds[0]}" if kinds else ""
    raise ValueError(
        f"expected the keys {list(_SHAPES)} and perhaps {list(_OPTIONAL_SHAPES)}, missing "
        f"{missing}, unknown {unknown}{looks_like}; docs/body_fits.md describes the file"
    )
