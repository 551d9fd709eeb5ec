"""Pictures of a run: its curves and its rank lists. Each function writes one PNG."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from fastreid_ext.evaluation.features import TestFeatures

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RIGHT, WRONG, QUERY = (46, 160, 67), (207, 34, 46), (90, 90, 90)  # RGB frames
_TILE, _FRAME, _GAP = (128, 64), 4, 6  # height x width, frame and gap, in pixels


def plot_training(metrics_file: Path, output: Path) -> Path:
    """Draw the losses and the test metrics of a run over its iterations.

    Args:
        metrics_file: ``metrics.json`` of a run, one JSON object a line.
        output: PNG to write.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is not JSON, or no line with a loss.
    """
    rows = _read_metrics(metrics_file)
    losses = sorted({key for row in rows for key in row if "loss" in key})
    tested = sorted({key for row in rows for key in row if key.split("/")[-1] in _TESTED})
    if not losses:
        raise ValueError(
            f"{metrics_file}: expected lines with losses, got {len(rows)} lines without"
        )
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for key in losses:
        left.plot(*_series(rows, key), label=key, lw=2.2 if key == "total_loss" else 1.2)
    left.set(xlabel="iteration", ylabel="loss (median of 20 iterations)", title="Training")
    left.legend(frameon=False)
    left.set_ylim(bottom=0)
    for key in tested:
        right.plot(*_series(rows, key), "o-", ms=4, label=key)
    right.set(xlabel="iteration", ylabel="%", title="Test identities", ylim=(0, 100))
    if tested:
        right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=120)
    plt.close(figure)
    return output


_TESTED = ("Rank-1", "mAP", "mINP")


def _read_metrics(metrics_file: Path) -> list[dict[str, float]]:
    if not metrics_file.is_file():
        raise FileNotFoundError(f"no metrics at {metrics_file}; expected the OUTPUT_DIR of a run")
    rows = []
    for number, line in enumerate(metrics_file.read_text().splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{metrics_file}:{number}: not JSON ({error}); remove the line"
            ) from None
    return rows


def _series(rows: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    points = [(row["iteration"], row[key]) for row in rows if key in row]
    return [x for x, _ in points], [y for _, y in points]


def draw_rank_lists(
    test: TestFeatures, output: Path, *, queries: int = 8, top: int = 10, seed: int = 0
) -> Path:
    """Draw queries, each with its first gallery images, right ones framed green, wrong ones red.

    Ranks are by cosine similarity. Images of the query's own person and camera are left out, as in
    the evaluation. The queries are drawn at random from those with a valid match, one per person as
    long as there are enough, so that the picture flatters nobody.

    Args:
        test: features with labels and paths.
        output: PNG to write.
        queries: rows of the picture.
        top: gallery images per row.
        seed: of the draw.

    Raises:
        ValueError: no query with a valid match, or an image that cannot be read.
    """
    rows = [_rank_list(test, row, top) for row in _drawn_queries(test, queries, seed)]
    titles = ["query", "", *map(str, range(1, top + 1))]
    header = _joined([_title(text) for text in titles], axis=1)
    picture = np.pad(
        _joined([header, *rows], axis=0), ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255
    )
    if not cv2.imwrite(str(output), picture[:, :, ::-1]):
        raise OSError(f"could not write {output}; is the disk full?")
    return output


def _rank_list(test: TestFeatures, row: int, top: int) -> NDArray[np.uint8]:
    """Draw one query, a gap, and its first ``top`` gallery images."""
    query, gallery = test.split(test.features)
    query_paths, gallery_paths = test.split(test.paths)
    query_pids, gallery_pids, query_camids, gallery_camids = test.labels()
    similarity = _cosine(query[row].numpy(), gallery.numpy())
    same_person = gallery_pids == query_pids[row]
    similarity[same_person & (gallery_camids == query_camids[row])] = -np.inf
    height, width = (side + 2 * _FRAME for side in _TILE)
    tiles = [_framed(query_paths[row], QUERY), np.full((height, _GAP, 3), 255)]
    for index in np.argsort(-similarity, kind="stable")[:top]:
        if np.isfinite(similarity[index]):
            tiles.append(_framed(gallery_paths[index], RIGHT if same_person[index] else WRONG))
    missing = 2 + top - len(tiles)  # of a small gallery
    return _joined([*tiles, *[np.full((height, width, 3), 255)] * missing], axis=1)


def _title(text: str) -> NDArray[np.uint8]:
    width = _TILE[1] + 2 * _FRAME if text else _GAP
    canvas = np.full((14, width, 3), 255, np.uint8)
    (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    origin = ((width - text_width) // 2, 12)
    return cv2.putText(
        canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA
    )


def _drawn_queries(test: TestFeatures, count: int, seed: int) -> NDArray[np.int64]:
    query_pids, gallery_pids, query_camids, gallery_camids = test.labels()
    rng = np.random.default_rng(seed)
    order = [
        row
        for row in rng.permutation(len(query_pids))
        if np.any((gallery_pids == query_pids[row]) & (gallery_camids != query_camids[row]))
    ]
    if not order:
        raise ValueError(
            "no query identity appears in the gallery under another camera, so there is nothing to "
            "draw; check the person and camera ids of query and gallery"
        )
    _, first_of_person = np.unique(query_pids[order], return_index=True)
    one_each = sorted(first_of_person)  # in the drawn order
    others = sorted(set(range(len(order))).difference(one_each))
    return np.array([order[i] for i in [*one_each, *others][:count]], dtype=np.int64)


def _cosine(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return gallery @ query / np.maximum(norms, 1e-12)


def _framed(path: str, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f"expected an image, got {path}, which cannot be decoded; restore the file"
        )
    image = cv2.resize(image[:, :, ::-1], _TILE[::-1], interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(image, *[_FRAME] * 4, cv2.BORDER_CONSTANT, value=colour)


def _joined(parts: Sequence[NDArray], axis: int) -> NDArray[np.uint8]:
    widths = [(0, 0)] * 3
    widths[axis] = (0, _GAP)
    padded = [np.pad(part, widths, constant_values=255) for part in parts[:-1]]
    return np.concatenate([*padded, parts[-1]], axis=axis).astype(np.uint8)
