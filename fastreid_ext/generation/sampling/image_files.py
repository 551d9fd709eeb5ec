"""Bring drawings to the size of the files, and write them in threads while the device draws on.

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

_WAITING = 512  # images in memory: as much as a slow disk may lag behind


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSettings:
    """How a drawing becomes a file.

    Attributes:
        size: of the files.
        resize_mode: "resize", or "crop" to the aspect of ``size`` around the centre first.
        format: "jpg" or "png".
        quality: of JPEG, 1 to 95.
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
        return cls(
            size=tuple(sampling.SAVE_SIZE),
            resize_mode=sampling.RESIZE_MODE,
            format=sampling.FORMAT,
            quality=sampling.QUALITY,
        )


def fitted(image: NDArray[np.uint8], size: tuple[int, int], resize_mode: str) -> NDArray[np.uint8]:
    """Return an image in another size: Pillow's bicubic, which averages where it shrinks.

    Args:
        image: (H, W, 3).
        size: wanted.
        resize_mode: "resize" stretches the image; "crop" first cuts it around its centre to the
            aspect ratio of ``size``.
    """
    height, width = image.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    if resize_mode == "crop":
        scale = min(height / size[0], width / size[1])
        top, left = (height - size[0] * scale) / 2, (width - size[1] * scale) / 2
        box = (left, top, width - left, height - top)
    if (height, width) == size and box == (0, 0, width, height):
        return image
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def encoded(image: NDArray[np.uint8], settings: FileSettings) -> bytes:
    """Return the bytes of the file of a drawing."""
    data = io.BytesIO()
    picture = Image.fromarray(fitted(image, settings.size, settings.resize_mode))
    if settings.format == "png":
        picture.save(data, "PNG", compress_level=4)
    else:
        picture.save(data, "JPEG", quality=settings.quality)
    return data.getvalue()


class ImageWriter:
    """Encodes and writes images in threads; a context, whose end waits for all files.

    Args:
        settings: of the files.
        threads: that encode; two are faster than any GPU draws.
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
        """Start to write an image; the result is the SHA-256 of the file.

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
            OSError: one could not be written.
        """
        while self._pending:
            self._pending.popleft().result()

    def _write(self, path: Path, image: NDArray[np.uint8]) -> str:
        data = encoded(image, self._settings)
        path.write_bytes(data)  # into a folder that is whole or not there
        return hashlib.sha256(data).hexdigest()
