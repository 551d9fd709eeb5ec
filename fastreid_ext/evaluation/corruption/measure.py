"""Test of a model on clean images, in the repeats of a corruption index, and in a grid.

There are three kinds of *parts*, each a whole evaluation of the test set:

- *clean*: no image is corrupted;
- *repeats*: every image of the corrupted side gets the corruption listed in the index [0];
- *grid*: every image gets the same corruption at the same severity, one part for each pair.

CIL's single-modality protocol corrupts queries and gallery. Of visible-infrared sets the visible
side is corrupted, queries or gallery, and the features of the other side are computed once; or
both sides (:mod:`.two_modalities`). A finished part is a file, so a killed evaluation resumes where
it stopped.

[0] Chen et al., "Benchmarks for Corruption Invariant Person Re-identification", NeurIPS 2021
"""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.corruptions.cpu.corrupt import SEVERITIES
from fastreid_ext.data.loaders import Batch
from fastreid_ext.evaluation.corruption.corrupted_images import (
    Part,
    TestImages,
    corrupted_batches,
    pixel_probe,
)
from fastreid_ext.evaluation.corruption.index import CorruptionIndex, Side
from fastreid_ext.evaluation.features import extract_features
from fastreid_ext.evaluation.visible_infrared.evaluator import evaluator_of

Metrics = dict[str, float]  # percentages by name


@dataclasses.dataclass(frozen=True)
class Measured:
    """Metrics of all parts, in percent, and hashes of the corrupted images.

    Attributes:
        clean: metrics on clean images, by name.
        repeats: metrics of each repeat, by name.
        grid: metrics by corruption and severity; {} without a grid.
        pixels: hashes of the corrupted images by name, for each repeat.
    """

    clean: Metrics
    repeats: list[Metrics]
    grid: dict[str, dict[int, Metrics]]
    pixels: list[dict[str, int]]


class CorruptionEvaluation:
    """Evaluation of a model on a -C test set; finished parts are kept and not repeated.

    Args:
        cfg: full configuration; TEST (re-ranking, flipping), INPUT and MODEL.DEVICE are read.
        model: function that builds the model; not called if every part is finished.
        images: images of the test set.
        index: corruption index of these images; see ``CorruptionIndex.expect``.
        corrupt: corrupted side: "query", "gallery" or "both".
        folder: folder where finished parts are kept.
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
        self._sides: tuple[Side, ...] = ("query", "gallery") if corrupt == "both" else (corrupt,)
        self._folder = folder
        self._name = {item[0]: name for item, name in zip(images.items, images.names, strict=True)}
        self._progress = tqdm(disable=True)

    def run(
        self, *, repeats: int, grid: bool, shard: tuple[int, int] = (0, 1)
    ) -> Measured | list[str]:
        """Evaluate the parts that are not finished and collect the metrics of all parts.

        Args:
            repeats: number of repeats of the index to evaluate.
            grid: whether to evaluate every corruption at every severity too.
            shard: pair (index, count): evaluate every ``count``-th part, from ``index`` on.

        Returns:
            Metrics of all parts or, while parts of other shards are missing, names of those parts.
        """
        plan = [Part(), *(Part(repeat=repeat) for repeat in range(repeats))]
        cells = [Part(cell=pair) for pair in self._pairs()] if grid else []
        self._folder.mkdir(parents=True, exist_ok=True)
        index, count = shard
        missing = [part for part in (plan + cells)[index::count] if not self._file(part).is_file()]
        with self._counting(len(missing)):
            for part, (features, hashes) in zip(missing, self.features(missing), strict=True):
                self._progress.set_postfix_str(part.name)
                content: dict[str, Any] = {"metrics": self._metrics(features)}
                if part.repeat is not None:
                    content["pixels"] = hashes
                atomic_write_text(self._file(part), json.dumps(content) + "\n")
        left = [part.name for part in plan + cells if not self._file(part).is_file()]
        if left:
            return left
        finished = [self._finished(part) for part in plan[1:]]
        by_corruption: dict[str, dict[int, Metrics]] = {}
        for part in cells:
            name, severity = part.cell
            by_corruption.setdefault(name, {})[severity] = self._finished(part)["metrics"]
        return Measured(
            self._finished(plan[0])["metrics"],
            [content["metrics"] for content in finished],
            by_corruption,
            [content["pixels"] for content in finished],
        )

    def features(self, parts: Sequence[Part]) -> Iterator[tuple[Tensor, dict[str, int]]]:
        """Yield for each part its features, queries first, and hashes of its images by name.

        Yields:
            (N, D) float32, and the hashes of the images of the corrupted side.
        """
        if not parts:
            return
        images = self._images
        clean = [side for side in ("query", "gallery") if side not in self._sides]
        jobs = [(Part(), images.rows(side)) for side in clean]
        jobs += [(part, images.rows(side)) for part in parts for side in self._sides]
        model = self._model()
        batches = corrupted_batches(self._cfg, images, self._index, jobs)
        of_side = {side: self._extract(model, next(batches), {}) for side in clean}
        for _ in parts:
            hashes: dict[str, int] = {}
            of_side |= {side: self._extract(model, next(batches), hashes) for side in self._sides}
            yield torch.cat([of_side["query"], of_side["gallery"]]), hashes

    def _extract(self, model: nn.Module, batches: Iterator[Batch], hashes: dict) -> Tensor:
        """Extract the features of a job and add the hashes of its images to ``hashes``."""

        def watched() -> Iterator[Batch]:
            for batch in batches:
                found = batch.pop("pixels").tolist()
                hashes.update(zip(map(self._name.get, batch["img_paths"]), found, strict=True))
                self._progress.update(len(found))
                yield batch

        return extract_features(model, watched(), 0, flip=self._cfg.TEST.FLIP.ENABLED).features

    def _metrics(self, features: Tensor) -> Metrics:
        pids, camids = torch.tensor([item[1:] for item in self._images.items]).T
        evaluator = evaluator_of(self._cfg, self._index.data_set, self._images.num_query)
        evaluator.reset()
        evaluator.process({"targets": pids, "camids": camids}, features)
        return {key: float(value) for key, value in evaluator.evaluate().items()}

    def _model(self) -> nn.Module:
        # Compiles or loads the kernels once, rather than in each loader process.
        pixel_probe(self._index.corruptions)
        return self._build_model()

    def _pairs(self) -> list[tuple[str, int]]:
        return [(name, severity) for name in self._index.corruptions for severity in SEVERITIES]

    def _file(self, part: Part) -> Path:
        return self._folder / f"{part.name}.json"

    def _finished(self, part: Part) -> dict[str, Any]:
        return json.loads(self._file(part).read_text())

    @contextlib.contextmanager
    def _counting(self, missing: int) -> Iterator[None]:
        """Show the progress in images; log each warning of the ranking once, not for every part."""
        corrupted = sum(len(self._images.rows(side)) for side in self._sides)
        total = corrupted * missing + len(self._images.items) - corrupted
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
