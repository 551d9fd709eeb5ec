"""The file of the clusters of a run's last epoch, ``clusters.csv``: written, and read again."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.atomic import atomic_write_text

CLUSTERS_FILE = "clusters.csv"
_COLUMNS = ["path", "camera", "cluster", "identity"]


@dataclasses.dataclass(frozen=True)
class ClusteredImages:
    """Images with their clusters.

    Attributes:
        paths: paths of N image files.
        cameras: (N,) numbers of the cameras, counted from 0 in the order of the sorted names.
        camera_names: sorted names of the cameras.
        clusters: (N,) clusters 0 .. C-1, -1 for noise.
        identities: (N,) true identities; None = not known.
    """

    paths: list[str]
    cameras: NDArray[np.int64]
    camera_names: list[str]
    clusters: NDArray[np.int64]
    identities: NDArray[np.int64] | None


def write_clusters(
    path: Path,
    paths: Sequence[str],
    clusters: NDArray[np.integer],
    cameras: Sequence[str],
    identities: NDArray[np.integer] | None,
) -> None:
    """Write a row for each image: its path, camera, cluster and, where known, identity."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    true = [""] * len(clusters) if identities is None else identities.tolist()
    writer.writerows(zip(paths, cameras, clusters.tolist(), true, strict=True))
    atomic_write_text(path, text.getvalue())


def read_clusters(path: Path) -> ClusteredImages:
    """Read the clusters that a run has written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has other columns, or no rows.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no clusters at {path}; a run with UNSUPERVISED.ENABLED True writes them before each "
            "epoch"
        )
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames != _COLUMNS or not rows:
        raise ValueError(
            f"expected the columns {', '.join(_COLUMNS)} and a row for each image in {path}, got "
            f"{reader.fieldnames} and {len(rows)} rows; was it written by another program?"
        )
    names, cameras = np.unique([row["camera"] for row in rows], return_inverse=True)
    identities = [row["identity"] for row in rows]
    return ClusteredImages(
        paths=[row["path"] for row in rows],
        cameras=cameras,
        camera_names=names.tolist(),
        clusters=np.array([row["cluster"] for row in rows], np.int64),
        identities=np.array(identities, np.int64) if all(identities) else None,
    )
