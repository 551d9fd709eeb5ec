"""Resize generated images and write their files in threads while the device goes on.

Images are (H, W, 3) uint8 RGB in [0, 255]; sizes are (height, width) in pixels.
"""

import collections
import dataclasses
import hashlib
import io
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray
from PIL import Image

from fastreid_ext.checks.generation import FORMATS, RESIZE_MODES
from fastreid_ext.generation.runs.settings import read_settings

_WAITING = 512  # images in memory: as much as a slow disk may lag behind


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSettings:
    """Size and format of the image files.

    Attributes:
        size: height and width of the files in pixels.
        resize_mode: "resize" to stretch, "crop" to cut to the aspect of ``size`` around the centre
            first.
        format: file format, "jpg" or "png".
        quality: quality of JPEG files, 1 to 95.
    """

    size: tuple[int, int]
    resize_mode: str = "resize"
    format: str = "jpg"
    quality: int = 95

    def __post_init__(self) -> None:
        for name, value, known in (
            ("RESIZE_MODE", self.resize_mode, RESIZE_MODES),
            ("FORMAT", self.format, FORMATS),
        ):
            if value not in known:
                raise ValueError(
                    f"expected GENERATION.SAMPLING.{name} of {', '.join(known)}, got '{value}'"
                )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "FileSettings":
        """Read ``GENERATION.SAMPLING``."""
        sampling = cfg.GENERATION.SAMPLING
        return read_settings(cls, sampling, size=tuple(sampling.SAVE_SIZE))


def resize_image(image: NDArray[np.uint8], size: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    """Resize an image by Pillow's bicubic filter, which averages where it shrinks.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: height and width of the result.
        mode: "resize" to stretch; "crop" to cut half of the surplus at each side first.

    Example:
        >>> resize_image(np.zeros((16, 16, 3), np.uint8), (8, 4), "crop").shape
        (8, 4, 3)
    """
    height, width = image.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    if mode == "crop":
        scale = min(height / size[0], width / size[1])
        top = (height - size[0] * scale) / 2
        left = (width - size[1] * scale) / 2
        box = (left, top, width - left, height - top)
    if (height, width) == size and box == (0, 0, width, height):
        return image
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def encode_image(image: NDArray[np.uint8], settings: FileSettings) -> bytes:
    """Resize an image (H, W, 3) and encode it as the bytes of its file."""
    data = io.BytesIO()
    resized = Image.fromarray(resize_image(image, settings.size, settings.resize_mode))
    if settings.format == "png":
        resized.save(data, "PNG", compress_level=4)
    else:
        resized.save(data, "JPEG", quality=settings.quality)
    return data.getvalue()


class ImageWriter:
    """Writer of images in threads; leaving its context waits for all files.

    Args:
        settings: size and format of the files.
        threads: number of encoding threads; two are faster than any GPU generates.
    """

    def __init__(self, settings: FileSettings, threads: int = 2) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="image-writer")
        self._pending: collections.deque[Future[str]] = collections.deque()

    def __enter__(self) -> "ImageWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            self.finish()

    def write(self, path: Path, image: NDArray[np.uint8]) -> "Future[str]":
        """Start to write an image; the future holds the SHA-256 of the file.

        Raises:
            OSError: an earlier image could not be written.
        """
        if len(self._pending) >= _WAITING:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write, path, image))
        return self._pending[-1]

    def finish(self) -> None:
        """Wait for all files.

        Raises:
            OSError: a file could not be written.
        """
        while self._pending:
            self._pending.popleft().result()

    def _write(self, path: Path, image: NDArray[np.uint8]) -> str:
        data = encode_image(image, self._settings)
        path.write_bytes(data)  # the folder is moved into place once it is complete
        return hashlib.sha256(data).hexdigest()
