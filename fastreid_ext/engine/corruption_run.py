"""Test a checkpoint on the corrupted images of a test set and write results that can be compared.

The folder of an evaluation holds ``corruption.json``, ``corruption.md``, pictures, and ``parts``,
one file for each finished part, so that the same call after a kill does the rest only, and several
processes or machines share the work. Parts of another checkpoint, index, configuration or version
of what makes pixels are refused.
"""

import dataclasses
import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.atomic import atomic_write_text, expect_writable
from fastreid_ext.engine.results import commit, plain, versions
from fastreid_ext.engine.run import load_model
from fastreid_ext.evaluation.corruption.baseline import (
    ERROR_METRICS,
    FORMAT,
    RESULT_FILE,
    read_baseline,
)
from fastreid_ext.evaluation.corruption.corrupted_images import TestImages, pixel_probe, test_images
from fastreid_ext.evaluation.corruption.index import CorruptionIndex, Side, draw_index
from fastreid_ext.evaluation.corruption.index_file import pixel_versions, read_index, write_index
from fastreid_ext.evaluation.corruption.measure import CorruptionEvaluation
from fastreid_ext.evaluation.corruption.pixels import compare_pixels
from fastreid_ext.evaluation.corruption.results import CorruptionResults
from fastreid_ext.evaluation.pictures.corruption import draw_draws, draw_drops, draw_severities
from fastreid_ext.saved_settings import expect_same

logger = logging.getLogger(__name__)

USUAL_DRAWS = 10  # of CIL
_INDEX_FILE = "corruption_index.jsonl"
# They change how long it takes, not what comes out.
_WITHOUT_EFFECT = (
    "MODEL.WEIGHTS",
    "MODEL.DEVICE",
    "INPUT.FAST_PATH",
    "TEST.NUM_WORKERS",
    "TEST.IMS_PER_BATCH",
)


@dataclasses.dataclass(frozen=True)
class CorruptionRun:
    """Settings of one evaluation on corrupted images.

    Attributes:
        weights: checkpoint file of the model.
        dataset: name of a registered test set.
        output: folder of the results and finished parts.
        index: file of the index, made where missing; None for one in ``output``.
        draws: how many of the index's draws.
        grid: also every corruption at every severity.
        corrupt: corrupted side, "query", "gallery" or "both".
        seed: seed of an index that is made.
        baseline: ``corruption.json`` of another evaluation, for mCE.
        pixels: keep hashes of the corrupted images beside the index.
        shard: (index, count): only every count-th part, from the index-th on.
    """

    weights: Path
    dataset: str
    output: Path
    index: Path | None = None
    draws: int = USUAL_DRAWS
    grid: bool = False
    corrupt: Side = "both"
    seed: int = 0
    baseline: Path | None = None
    pixels: bool = False
    shard: tuple[int, int] = (0, 1)


def evaluate_corruption(cfg: CfgNode, run: CorruptionRun) -> CorruptionResults | list[str]:
    """Do what is not done yet and write everything.

    Of several shards the one that ends last writes the results.

    Args:
        cfg: checked configuration of the checkpoint.
        run: settings of the evaluation.

    Returns:
        The results, or, while parts of other shards are missing, the names of those.

    Raises:
        FileNotFoundError: checkpoint, data set or baseline are missing.
        ValueError: the index is damaged or not of this data set, the baseline is not comparable, or
            the folder holds the evaluation of something else.
    """
    began = time.perf_counter()
    if run.baseline and not run.grid:
        raise ValueError("expected --grid with --baseline: mCE compares errors in the grid")
    baseline = read_baseline(run.baseline) if run.baseline else None
    expect_writable(run.output, is_folder=True)
    if run.index and not run.index.is_file():
        expect_writable(run.index)
    images = test_images(cfg, run.dataset)
    file = run.index or run.output / _INDEX_FILE
    index = _index(file, run, images)
    if baseline:
        baseline.expect(run.dataset, run.corrupt, index.rows_sha256)
    identity = _identity(cfg, run, index)
    _expect_same(run.output / "parts" / "identity.json", identity)
    evaluation = CorruptionEvaluation(
        cfg=cfg,
        model=lambda: load_model(cfg, run.weights),
        images=images,
        index=index,
        corrupt=run.corrupt,
        folder=run.output / "parts",
    )
    measured = evaluation.run(draws=run.draws, grid=run.grid, shard=run.shard)
    if isinstance(measured, list):
        logger.info("%d parts of other shards are not done yet: %s", len(measured), measured[0])
        return measured
    errors = baseline.errors(measured.grid) if baseline else None
    results = CorruptionResults(run.dataset, run.corrupt, index.rows_sha256, measured, errors)
    about = {
        "format": FORMAT,
        "index": {
            "rows_sha256": index.rows_sha256,
            "images_sha256": index.images_sha256,
            "seed": index.seed,
        },
        "pixels": compare_pixels(file, index, measured.pixels, write=run.pixels),
        "pixel_probe": identity["pixel probe"],
        "weights_sha256": identity["weights_sha256"],
        "seconds_of_this_call": time.perf_counter() - began,
        "commit": commit(),
        "versions": {**versions(), **pixel_versions()},
        "config": plain(cfg),
    }
    if baseline:
        about["baseline_differs_in"] = baseline.differs_in(about)
    _write(results, about, run.output)
    return results


def _index(file: Path, run: CorruptionRun, images: TestImages) -> CorruptionIndex:
    """Read the index, or make it, and check that it is of these images."""
    if not file.is_file():
        # Of both sides and the usual number of draws: one index serves every evaluation.
        draws = max(run.draws, USUAL_DRAWS)
        index = draw_index(run.dataset, images.files("both"), draws=draws, seed=run.seed)
        write_index(index, file)
        logger.info("wrote %s", file)
        return index
    index = read_index(file)
    index.expect(run.dataset, run.corrupt, run.draws)
    index.expect_images(images.files(index.side))
    return index


def _identity(cfg: CfgNode, run: CorruptionRun, index: CorruptionIndex) -> dict[str, Any]:
    """Name everything that the numbers depend on."""
    settings = {
        f"{part}.{key}": plain(value)
        for part in ("MODEL", "INPUT", "TEST")
        for key, value in cfg[part].items()
        if f"{part}.{key}" not in _WITHOUT_EFFECT
    }
    with open(run.weights, "rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "data set": run.dataset,
        "weights_sha256": weights,
        "index": index.rows_sha256,
        "corrupt": run.corrupt,
        "pixel probe": pixel_probe(index.corruptions),
        **settings,
        **{f"version of {name}": version for name, version in pixel_versions().items()},
    }


def _expect_same(file: Path, identity: dict[str, Any]) -> None:
    """Refuse to mix parts of different evaluations."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(identity, indent=1) + "\n")
        return
    before = json.loads(file.read_text())
    now = json.loads(json.dumps(identity))
    expect_same(
        before,
        now,
        found=f"{file.parent.parent} holds an evaluation of other settings",
        advice="give another --output, or remove the folder",
    )


def _write(results: CorruptionResults, about: dict[str, Any], output: Path) -> None:
    content = {**about, **results.as_json()}
    atomic_write_text(output / RESULT_FILE, json.dumps(content, indent=1) + "\n")
    atomic_write_text(output / "corruption.md", results.as_markdown())
    draw_draws(results, output / "draws.png")
    if results.measured.grid:
        draw_severities(results, output / "heat_map.png")
        if all(results.measured.clean[metric] for metric in ERROR_METRICS):
            draw_drops(results, output / "drops.png")
        else:
            logger.warning("no drops.png: the clean result is 0")
