"""Pictures of the trained miniature models: losses, reconstructions, samples."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fastreid_ext.atomic import atomic_write_bytes

_DOTS_PER_INCH = 110


def plot_curves(losses: Path, output: Path) -> None:
    """Plot the loss curves ``<stage>.json`` of a folder, smoothed, one panel for each stage."""
    files = sorted(losses.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"no loss curves in {losses}; train a stage first")
    figure = Figure(figsize=(3.6 * len(files), 3), layout="constrained")
    for axes, file in zip(figure.subplots(1, len(files), squeeze=False)[0], files, strict=True):
        values = torch.tensor(json.loads(file.read_text()))
        window = max(len(values) // 50, 1)
        smooth = values[: len(values) // window * window].reshape(-1, window).mean(dim=1)
        axes.plot(torch.arange(len(smooth)) * window + window / 2, smooth)
        axes.set(title=file.stem, xlabel="step", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3, which="both")
    _write(figure, output)


def plot_reconstructions(images: Tensor, rebuilt: Tensor, output: Path) -> None:
    """Plot images above their reconstructions by the autoencoder, both (N, 3, H, W) uint8."""
    sheet = torch.cat([torch.cat(list(batch), dim=2) for batch in (images, rebuilt)], dim=1)
    figure = Figure(figsize=(12, 12 * sheet.shape[1] / sheet.shape[2] + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet.permute(1, 2, 0).numpy())
    axes.set_title("above: images; below: rebuilt from their latents", loc="left")
    axes.set_axis_off()
    _write(figure, output)


def plot_samples(
    captions: Sequence[str], samples: Sequence[Tensor], output: Path, title: str = ""
) -> None:
    """Plot a row for each caption: its images (n, 3, H, W) uint8 and the caption."""
    rows = len(captions)
    figure = Figure(figsize=(9, 1.25 * rows + 0.3), layout="constrained")
    for axes, caption, images in zip(
        figure.subplots(rows, 1, squeeze=False)[:, 0], captions, samples, strict=True
    ):
        strip = torch.cat(list(images), dim=2).permute(1, 2, 0).numpy()
        axes.imshow(strip)
        axes.text(strip.shape[1] + 4, strip.shape[0] / 2, _wrapped(caption), va="center", size=9)
        axes.set_anchor("W")
        axes.set_axis_off()
    if title:
        figure.suptitle(title, x=0.01, ha="left", size=10)
    _write(figure, output)


def _wrapped(text: str, width: int = 70) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += f"{word} "
    return "\n".join(lines)


def _write(figure: Figure, output: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(output, buffer.getvalue())
