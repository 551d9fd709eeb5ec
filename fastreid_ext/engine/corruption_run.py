"""Evaluation of a checkpoint on the corrupted images of a test set, with comparable results.

The output folder holds ``corruption.json``, ``corruption.md``, plots, and ``parts``, one file for
each finished part: after a kill, the same call evaluates only the missing parts, and several
processes or machines can share the work. Parts of another checkpoint, index, configuration or
version of a library that changes pixels are refused.
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
from fastreid_ext.data.visible_infrared import visible_infrared_test
from fastreid_ext.engine.results import commit, plain, versions
from fastreid_ext.engine.run import load_model
from fastreid_ext.evaluation.corruption.baseline import (
    ERROR_METRICS,
    FORMAT,
    RESULT_FILE,
    read_baseline,
)
from fastreid_ext.evaluation.corruption.corrupted_images import TestImages, pixel_probe, test_images
from fastreid_ext.evaluation.corruption.index import CorruptionIndex, sample_index
from fastreid_ext.evaluation.corruption.index_file import pixel_versions, read_index, write_index
from fastreid_ext.evaluation.corruption.measure import CorruptionEvaluation
from fastreid_ext.evaluation.corruption.pixels import compare_pixels
from fastreid_ext.evaluation.corruption.results import CorruptionResults
from fastreid_ext.evaluation.corruption.two_modalities import Asked, corrupted_side
from fastreid_ext.evaluation.pictures.corruption import plot_drops, plot_repeats, plot_severities
from fastreid_ext.evaluation.visible_infrared.evaluator import title_of_test
from fastreid_ext.saved_settings import expect_same

logger = logging.getLogger(__name__)

DEFAULT_REPEATS = 10  # as in CIL's protocol
_INDEX_FILE = "corruption_index.jsonl"
# Keys that change the duration of an evaluation, not its results.
_WITHOUT_EFFECT = (
    "MODEL.WEIGHTS",
    "MODEL.DEVICE",
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
        index: file of the index, sampled if missing; None keeps one in ``output``.
        repeats: number of the index's repeats to evaluate.
        grid: whether to evaluate every corruption at every severity too.
        corrupt: corrupted side, "query", "gallery", "both" or "visible"; "" = "visible" for sets of
            two modalities and "both" for others.
        seed: seed for sampling a missing index.
        baseline: ``corruption.json`` of another evaluation, for mCE.
        pixels: whether to keep hashes of the corrupted images next to the index.
        shard: pair (index, count): evaluate every ``count``-th part, from ``index`` on.
    """

    weights: Path
    dataset: str
    output: Path
    index: Path | None = None
    repeats: int = DEFAULT_REPEATS
    grid: bool = False
    corrupt: Asked = ""
    seed: int = 0
    baseline: Path | None = None
    pixels: bool = False
    shard: tuple[int, int] = (0, 1)


def evaluate_corruption(cfg: CfgNode, run: CorruptionRun) -> CorruptionResults | list[str]:
    """Evaluate the parts that are not finished and write the results.

    Of several shards, the one that ends last writes the results.

    Example::

        weights = Path("demo/train/model_final.pth")
        cfg = load_config("demo/train/config.yaml", FROM_CHECKPOINT)
        evaluate_corruption(cfg, CorruptionRun(weights, "RenderedCampus", Path("demo/corruption")))

    Args:
        cfg: checked configuration of the checkpoint.
        run: settings of this evaluation, such as checkpoint and test set.

    Returns:
        Results or, while parts of other shards are missing, the names of those parts.

    Raises:
        FileNotFoundError: the checkpoint, data set or baseline is missing.
        ValueError: the index is damaged or belongs to another data set, the baseline is not
            comparable, or the folder holds another evaluation.
    """
    began = time.perf_counter()
    if run.baseline and not run.grid:
        raise ValueError("expected --grid with --baseline: mCE compares errors in the grid")
    baseline = read_baseline(run.baseline) if run.baseline else None
    run = dataclasses.replace(run, corrupt=corrupted_side(run.dataset, run.corrupt))
    expect_writable(run.output, is_folder=True)
    if run.index and not run.index.is_file():
        expect_writable(run.index)
    images = test_images(cfg, run.dataset)
    file = run.index or run.output / _INDEX_FILE
    index = _index(file, run, images)
    if baseline:
        baseline.expect(run.dataset, run.corrupt, index.rows_sha256)
    settings = _settings(cfg, run, index)
    _expect_same(run.output / "parts" / "settings.json", settings)
    evaluation = CorruptionEvaluation(
        cfg=cfg,
        model=lambda: load_model(cfg, run.weights),
        images=images,
        index=index,
        corrupt=run.corrupt,
        folder=run.output / "parts",
    )
    measured = evaluation.run(repeats=run.repeats, grid=run.grid, shard=run.shard)
    if isinstance(measured, list):
        logger.info("%d parts of other shards are not done yet: %s", len(measured), measured[0])
        return measured
    errors = baseline.errors(measured.grid) if baseline else None
    size = _size_of_corruption(cfg, run.dataset)
    results = CorruptionResults(
        run.dataset,
        run.corrupt,
        index.rows_sha256,
        measured,
        errors,
        title=_title(cfg, run, size),
    )
    about = {
        **_provenance(cfg, index, settings),
        "pixels": compare_pixels(file, index, measured.pixels, write=run.pixels, size=size),
        "seconds_of_this_call": time.perf_counter() - began,
    }
    if baseline:
        about["baseline_installation_differences"] = baseline.installation_differences(about)
    _write(results, about, run.output)
    return results


def _size_of_corruption(cfg: CfgNode, dataset: str) -> list[int] | None:
    """Return height and width at which images are corrupted; None = their own sizes."""
    return None if visible_infrared_test(dataset) is None else list(cfg.INPUT.SIZE_TEST)


def _title(cfg: CfgNode, run: CorruptionRun, size: list[int] | None) -> str:
    if size is None:
        return ""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(run.weights)
    return f"{title_of_test(cfg, run.dataset)}; images corrupted at {size[0]}x{size[1]}"


def _provenance(cfg: CfgNode, index: CorruptionIndex, settings: dict[str, Any]) -> dict[str, Any]:
    """Describe what made the results: index, checkpoint, code, libraries and configuration."""
    return {
        "format": FORMAT,
        "index": {
            "rows_sha256": index.rows_sha256,
            "images_sha256": index.images_sha256,
            "seed": index.seed,
        },
        "pixel_probe": settings["pixel probe"],
        "weights_sha256": settings["weights_sha256"],
        "commit": commit(),
        "versions": {**versions(), **pixel_versions()},
        "config": plain(cfg),
    }


def _index(file: Path, run: CorruptionRun, images: TestImages) -> CorruptionIndex:
    """Read the index and check that it lists these images, or sample it if missing."""
    if not file.is_file():
        # Both sides and at least the default number of repeats: one index serves every evaluation.
        repeats = max(run.repeats, DEFAULT_REPEATS)
        index = sample_index(run.dataset, images.files("both"), repeats=repeats, seed=run.seed)
        write_index(index, file)
        logger.info("wrote %s", file)
        return index
    index = read_index(file)
    index.expect(run.dataset, run.corrupt, run.repeats)
    index.expect_images(images.files(index.side))
    return index


def _settings(cfg: CfgNode, run: CorruptionRun, index: CorruptionIndex) -> dict[str, Any]:
    """Collect the settings, hashes and versions that determine the results."""
    keys = {
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
        **({"corrupted at": size} if (size := _size_of_corruption(cfg, run.dataset)) else {}),
        **keys,
        **{f"version of {name}": version for name, version in pixel_versions().items()},
    }


def _expect_same(file: Path, settings: dict[str, Any]) -> None:
    """Check that finished parts belong to this evaluation; else raise ValueError."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(settings, indent=1) + "\n")
        return
    before = json.loads(file.read_text())
    now = json.loads(json.dumps(settings))
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
    plot_repeats(results, output / "repeats.png")
    if results.measured.grid:
        plot_severities(results, output / "heat_map.png")
        if all(results.measured.clean[metric] for metric in ERROR_METRICS):
            plot_drops(results, output / "drops.png")
        else:
            logger.warning("no drops.png: the clean result is 0")
