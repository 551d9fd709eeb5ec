"""Test a model on corrupted images: clean, in the draws of an index, and in a grid.

Three kinds of *parts*, each a whole evaluation of the test set:

- *clean*, nothing corrupted;
- *draws*: every image of the corrupted side gets the one corruption that the index gives it [0];
- *grid*: every image gets the same corruption at the same severity, a part for each pair.

Which side is corrupted: CIL's single-modality protocol corrupts queries and gallery. Visible-
infrared sets corrupt the visible side only, that is, queries or gallery. The features of the other
side are computed once. A part that is finished is a file, so that a killed evaluation goes on where
it was.

[0] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
"""

import contextlib
import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.data.corrupted import TestImages, corrupted_loader, corrupted_pixels
from fastreid_ext.data.corruption_index import CorruptionIndex, Side
from fastreid_ext.data.transforms.corruptions.corrupt import SEVERITIES
from fastreid_ext.data.transforms.random_corruption import Corruption
from fastreid_ext.evaluation.evaluator import CountingEvaluator
from fastreid_ext.evaluation.features import extract_features

Metrics = dict[str, float]  # percentages by name


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        clean: without corruptions.
        draws: of each draw.
        grid: by corruption and severity; {} where there was no grid.
        pixels: of each draw the hashes of the corrupted images, by name.
    """

    clean: Metrics
    draws: list[Metrics]
    grid: dict[str, dict[int, Metrics]]
    pixels: list[dict[str, int]]


class CorruptionEvaluation:
    """The parts of a -C evaluation, each done once.

    Args:
        cfg: TEST, INPUT and MODEL.DEVICE are read; re-ranking, flipping and the like as elsewhere.
        model: returns the model; not called where everything is done already.
        images: the test set.
        index: of these images; see ``CorruptionIndex.expect`` and ``expect_images``.
        corrupt: which side.
        folder: keeps finished parts.
    """

    def __init__(
        self,
        *,
        cfg: CfgNode,
        model: Callable[[], nn.Module],
        images: TestImages,
        index: CorruptionIndex,
        corrupt: Side,
        folder: Path,
    ) -> None:
        self._cfg = cfg
        self._build_model = model
        self._images = images
        self._index = index
        self._sides = ("query", "gallery") if corrupt == "both" else (corrupt,)
        self._folder = folder
        self._row = {name: row for row, name in enumerate(index.names)}
        self._unchanged: dict[str, Tensor] = {}
        self._progress = tqdm(disable=True)

    def run(self, *, draws: int, grid: bool) -> Measured:
        """Do what is not done yet and return everything."""
        plan = {"clean": None} | {f"draw_{draw}": self.drawn(draw) for draw in range(draws)}
        if grid:
            plan |= {_cell(*pair): self.everywhere(*pair) for pair in self._pairs()}
        self._folder.mkdir(parents=True, exist_ok=True)
        missing = [name for name in plan if not self._file(name).is_file()]
        with self._counting(missing):
            for name in missing:
                self._progress.set_postfix_str(name)
                content = self._measure(plan[name], keep_pixels=name.startswith("draw_"))
                atomic_write_text(self._file(name), json.dumps(content) + "\n")
        parts = {name: json.loads(self._file(name).read_text()) for name in plan}
        drawn = [parts[f"draw_{draw}"] for draw in range(draws)]
        cells: dict[str, dict[int, Metrics]] = {}
        for name, severity in self._pairs() if grid else ():
            cells.setdefault(name, {})[severity] = parts[_cell(name, severity)]["metrics"]
        return Measured(
            parts["clean"]["metrics"],
            [part["metrics"] for part in drawn],
            cells,
            [part["pixels"] for part in drawn],
        )

    def drawn(self, draw: int) -> dict[str, Corruption]:
        """Return the corruption of each image in a draw."""
        return {name: self._index.drawn(row, draw) for name, row in self._row.items()}

    def everywhere(self, corruption: str, severity: int) -> dict[str, Corruption]:
        """Return the same corruption for all images, each with its own seed."""
        return {
            name: Corruption(corruption, severity, int(self._index.grid_seeds[row]))
            for name, row in self._row.items()
        }

    def features(self, corruptions: dict[str, Corruption] | None) -> tuple[Tensor, dict[str, int]]:
        """Return features, queries first, and hashes of the corrupted images by name.

        Args:
            corruptions: for each image of the corrupted sides; None leaves all clean.

        Returns:
            (N, D) float32, and the hashes.
        """
        hashes: dict[str, int] = {}
        parts = []
        for side in ("query", "gallery"):
            is_corrupted = corruptions is not None and side in self._sides
            if not is_corrupted and side in self._unchanged:
                parts.append(self._unchanged[side])
                continue
            parts.append(self._extract(side, corruptions if is_corrupted else {}, hashes))
            if side not in self._sides:
                self._unchanged[side] = parts[-1]
        return torch.cat(parts), hashes if corruptions else {}

    def _measure(
        self, corruptions: dict[str, Corruption] | None, *, keep_pixels: bool
    ) -> dict[str, Any]:
        features, hashes = self.features(corruptions)
        pids, camids = torch.tensor([item[1:] for item in self._images.items]).T
        evaluator = CountingEvaluator(self._cfg, self._images.num_query)
        evaluator.reset()
        evaluator.process({"targets": pids, "camids": camids}, features)
        metrics = {key: float(value) for key, value in evaluator.evaluate().items()}
        return {"metrics": metrics} | ({"pixels": hashes} if keep_pixels else {})

    def _extract(
        self, side: Side, corruptions: dict[str, Corruption], hashes: dict[str, int]
    ) -> Tensor:
        """Return the features of a side and add the hashes of its images to ``hashes``."""
        rows = self._images.rows(side)
        names = [self._images.names[row] for row in rows]
        items = [self._images.items[row] for row in rows]
        found: list[int] = []

        def batches() -> Iterator[dict[str, Any]]:
            chosen = [corruptions[name] if corruptions else None for name in names]
            for batch in corrupted_loader(self._cfg, items, chosen):
                found.extend(batch.pop("pixels").tolist())
                self._progress.update(len(batch["img_paths"]))
                yield batch

        flip = self._cfg.TEST.FLIP.ENABLED
        test = extract_features(self._model, batches(), len(names), flip=flip)
        if corruptions:
            hashes |= dict(zip(names, found, strict=True))
        return test.features

    @functools.cached_property
    def _model(self) -> nn.Module:
        # Here rather than in each loader process, which would compile or load the kernels anew.
        noise = np.random.RandomState(0).randint(0, 256, (64, 32, 3)).astype(np.uint8)
        for name in self._index.corruptions:
            corrupted_pixels(noise, Corruption(name, 1, 0))
        return self._build_model()

    def _pairs(self) -> list[tuple[str, int]]:
        return [(name, severity) for name in self._index.corruptions for severity in SEVERITIES]

    def _file(self, part: str) -> Path:
        return self._folder / f"{part}.json"

    @contextlib.contextmanager
    def _counting(self, missing: list[str]) -> Iterator[None]:
        """Show the progress in images; warn of a test set's oddities once, not in every part."""
        corrupted = sum(len(self._images.rows(side)) for side in self._sides)
        total = corrupted * len(missing) + len(self._images.items) - corrupted
        warnings = logging.getLogger("fastreid_ext.evaluation.ranking")
        seen: set[str] = set()

        def is_new(record: logging.LogRecord) -> bool:
            is_first = record.getMessage() not in seen
            seen.add(record.getMessage())
            return is_first

        warnings.addFilter(is_new)
        try:
            with tqdm(
                total=total, unit="image", dynamic_ncols=True, disable=not missing
            ) as self._progress:
                yield
        finally:
            warnings.removeFilter(is_new)


def _cell(corruption: str, severity: int) -> str:
    return f"grid_{corruption}_{severity}"
