"""Title, numbers and pictures of a job, finished or not."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from numpy.typing import NDArray

from fastreid_ext.generation.captions.captions_file import captions_file, read_captions
from fastreid_ext.generation.generated_set.distribution import (
    distribution_of,
    plot_distribution,
    rows_by_identity,
)
from fastreid_ext.generation.generated_set.preview import plot_preview, preview_samples
from fastreid_ext.generation.identities.identity_list import Identity, load_images, read_identities
from fastreid_ext.generation.identities.source_identities import source_folder
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.manifest import Row
from fastreid_ext.pictures.tiles import evenly

_log = logging.getLogger(__name__)


def set_title(cfg: CfgNode) -> str:
    """Compose the title of a generated set from its data sets.

    Args:
        cfg: full configuration of the job.
    """
    return f"Generated persons of {' and '.join(cfg.DATASETS.NAMES)}"


def statistics(cfg: CfgNode, output: Path | None = None) -> tuple[list[tuple[str, str]], Path]:
    """Count the images of a job, and plot their distribution over identities.

    Args:
        cfg: full configuration of the job.
        output: path of the PNG file; None for ``distribution.png`` in the job's folder.

    Returns:
        Rows (quantity, number), and the path of the picture.
    """
    folder = Path(cfg.OUTPUT_DIR)
    distribution = distribution_of(rows_by_identity(Layout(folder).images))
    picture = plot_distribution(distribution, output or folder / "distribution.png")
    return distribution.table(), picture


def preview(cfg: CfgNode, output: Path | None = None, number: int = 12) -> Path:
    """Plot identities of a job: real images beside generated ones.

    Args:
        cfg: full configuration of the job.
        output: path of the PNG file; None for ``preview.png`` in the job's folder.
        number: number of identities, spread over the set.

    Returns:
        The path of the picture.
    """
    folder = Path(cfg.OUTPUT_DIR)
    layout = Layout(folder)
    rows = rows_by_identity(layout.images)
    shown = set(evenly(sorted(rows), number))
    real_images = {
        identity.name: _real_images(cfg, identity)
        for identity in read_identities(layout.identities)
        if identity.name in shown
    }
    captions = read_captions(folder) if captions_file(folder).is_file() else {}
    texts = _views(rows) | {name: row.caption for name, row in captions.items()}
    samples = preview_samples(rows, texts, real_images, number)
    return plot_preview(samples, output or folder / "preview.png")


def _views(rows: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """Describe the viewpoints of identities whose images were generated for planned ones."""
    texts = {}
    for name, own in rows.items():
        degrees = [row.image.conditions.get("azimuth_deg") for row in own]
        if degrees and None not in degrees:
            texts[name] = "azimuth " + ", ".join(f"{azimuth:.0f}" for azimuth in degrees)
    return texts


def _real_images(cfg: CfgNode, identity: Identity) -> list[NDArray[np.uint8]]:
    """Load an identity's real images; [] if one is gone, which harms no finished set."""
    try:
        return load_images(identity, source_folder(cfg, identity.source_dataset))
    except OSError as error:
        _log.warning("the preview lacks the real images of %s: %s", identity.name, error)
        return []
