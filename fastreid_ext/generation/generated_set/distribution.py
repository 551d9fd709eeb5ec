"""Number of images per identity of a generated set: a table, and the paper's curve.

[0] Niu et al., "Synthesizing Efficient Data with Diffusion Models for Person Re-Identification
    Pre-Training", 2024, sec. 3.4 (150 images an identity in the mean; 80 % have 70 to 210),
    https://arxiv.org/abs/2406.06045
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastreid_ext.manifest import Row, read_identity
from fastreid_ext.pictures.png import BLUE, ORANGE, bare, save_figure


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Number of images per identity.

    Attributes:
        names: names of the identities, sorted.
        generated: number of images with a file, per identity.
        kept: number of images with status "ok", per identity.
        failed: number of images that failed, per identity.
        reasons: reason why images are not "ok", with numbers as "#" -> number of images.
    """

    names: tuple[str, ...]
    generated: NDArray[np.int64]
    kept: NDArray[np.int64]
    failed: NDArray[np.int64]
    reasons: Mapping[str, int]

    def table(self) -> list[tuple[str, str]]:
        """List the quantities of the set as (description, number)."""
        low, median, high = np.percentile(self.kept, [10, 50, 90])
        share = self.kept.sum() / max(1, self.generated.sum())
        without = int((self.kept == 0).sum())
        return [
            ("identities", f"{len(self.names)}"),
            ("images generated", f"{self.generated.sum()}"),
            ("images kept", f"{self.kept.sum()} ({share:.1%})"),
            ("images that failed", f"{self.failed.sum()}"),
            ("kept per identity, mean", f"{self.kept.mean():.1f}"),
            ("kept per identity, median", f"{median:.0f}"),
            ("80 % of the identities have", f"{low:.0f} to {high:.0f}"),
            ("identities without a kept image", f"{without}"),
            *((f"not kept: {reason}", f"{n}") for reason, n in self.reasons.items()),
        ]


def rows_by_identity(images: Path) -> dict[str, list[Row]]:
    """Read the rows of each finished identity; the set itself may be unfinished.

    Raises:
        FileNotFoundError: no identity is finished.
        ValueError: a row is damaged.
    """
    found = {path.parent.name: path.parent for path in sorted(images.glob("*/metadata.jsonl"))}
    if not found:
        raise FileNotFoundError(
            f"no finished identity in {images}; give the OUTPUT_DIR of a job that has finished some"
        )
    return {name: read_identity(folder) for name, folder in found.items()}


def distribution_of(rows: Mapping[str, list[Row]]) -> Distribution:
    """Count the images of each identity."""
    counts = {name: Counter(row.image.status for row in own) for name, own in rows.items()}
    reasons = Counter(
        _kind(row.image.reason, name)
        for name, own in rows.items()
        for row in own
        if row.image.status != "ok"
    )

    def number(*statuses: str) -> NDArray[np.int64]:
        """Count the images of each identity that have one of the statuses."""
        return np.array([sum(count[status] for status in statuses) for count in counts.values()])

    return Distribution(
        tuple(counts),
        number("ok", "rejected"),
        number("ok"),
        number("failed"),
        dict(reasons.most_common()),
    )


def plot_distribution(distribution: Distribution, output: Path) -> Path:
    """Plot a histogram of images per identity, and the share with at least so many.

    Args:
        distribution: counts of at least one identity.
        output: path of the PNG file to write.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _histogram(left, distribution)
    _curve(right, distribution)
    for axes in (left, right):
        bare(axes)
        axes.set_xlim(left=0)
    return save_figure(figure, output)


def _histogram(axes: Axes, distribution: Distribution) -> None:
    most = int(distribution.generated.max(initial=1))
    width = max(1, -(-(most + 1) // 30))
    bins = np.arange(0, most + width + 1, width) - 0.5  # whole numbers in the middle of a bar
    axes.hist(distribution.kept, bins=bins, color=BLUE, rwidth=0.9)
    mean = distribution.kept.mean()
    axes.axvline(mean, color="black", lw=1, ls="--", label=f"mean {mean:.1f}")
    axes.set(
        xlabel="kept images of an identity",
        ylabel="identities",
        title=f"{distribution.kept.sum()} images of {len(distribution.names)} identities",
    )
    axes.set_xlim(-0.5, most + 0.5)
    axes.legend(frameon=False)
    axes.yaxis.get_major_locator().set_params(integer=True)


def _curve(axes: Axes, distribution: Distribution) -> None:
    for counts, label, colour in (
        (distribution.generated, "generated", ORANGE),
        (distribution.kept, "kept", BLUE),
    ):
        x = np.arange(1, int(distribution.generated.max(initial=1)) + 2)
        share = [100 * float((counts >= least).mean()) for least in x]
        axes.step(x, share, where="mid", color=colour, label=label, lw=2)
    axes.set(
        xlabel="at least so many images",
        ylabel="% of the identities",
        title="Distribution of the images over the identities",
        ylim=(0, 104),
    )
    axes.legend(frameon=False)


def _kind(reason: str, name: str) -> str:
    """Replace numbers and the name in a reason, so that equal kinds compare equal."""
    return re.sub(r"-?\d+(\.\d+)?", "#", reason.replace(name, "<identity>"))
