"""Contact sheets: a grid of small pictures, such as identities by cameras."""

import cv2
import numpy as np

_GAP = 2  # pixels between pictures
_BACKGROUND = 24  # grey level of the empty sheet


def contact_sheet(pictures: list[list[np.ndarray | None]]) -> np.ndarray:
    """Arrange pictures of one size on a sheet (H, W, 3) uint8 RGB.

    Args:
        pictures: rows of pictures (h, w, 3) uint8 RGB; ``None`` leaves a gap.
    """
    height, width = next(p for row in pictures for p in row if p is not None).shape[:2]
    rows = len(pictures)
    columns = max(len(row) for row in pictures)
    sheet = np.full(
        (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _BACKGROUND, np.uint8
    )
    for r, row in enumerate(pictures):
        for c, picture in enumerate(row):
            if picture is not None:
                top = _GAP + r * (height + _GAP)
                left = _GAP + c * (width + _GAP)
                sheet[top : top + height, left : left + width] = picture
    return sheet


def decode(jpeg: bytes) -> np.ndarray:
    """Decode JPEG bytes to a picture (H, W, 3) uint8 RGB."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
