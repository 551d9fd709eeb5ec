"""Colours and axes of plots, and PNG files."""

import io
from pathlib import Path

import cv2
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastreid_ext.atomic import atomic_write_bytes, expect_writable

# Okabe and Ito, "Color Universal Design", 2008: distinguishable with any kind of colour vision.
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, "#000000")  # visible on white


def save_figure(figure: Figure, output: Path, *, dpi: int = 120) -> Path:
    """Write a matplotlib figure as a PNG, atomically."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return _write(buffer.getvalue(), output)


def save_pixels(pixels: NDArray, output: Path) -> Path:
    """Write pixels (H, W, 3) uint8 RGB as a PNG, atomically."""
    encoded, data = cv2.imencode(".png", pixels[:, :, ::-1])
    assert encoded
    return _write(data.tobytes(), output)


def bare(axes: Axes, *, grid: bool = True) -> None:
    """Reduce the frame of a plot to its left and bottom lines, and add a faint grid.

    Args:
        axes: axes of the plot to change.
        grid: whether the faint grid is added.
    """
    if grid:
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def expect_png(output: Path) -> Path:
    """Check the path of a picture before minutes of computation, and return it.

    Raises:
        ValueError: the name does not end in .png.
        OSError: the path is not writable.
    """
    if output.suffix.lower() != ".png":
        raise ValueError(f"expected the name of a .png file for the picture, got {output}")
    return expect_writable(output)


def _write(data: bytes, output: Path) -> Path:
    atomic_write_bytes(expect_png(output), data)
    return output
