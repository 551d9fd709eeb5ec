"""Copies of a generated set with other decisions: other filters, thresholds, or fewer images.

Images are hard-linked where the file system allows it, so a copy costs little.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.atomic import link_or_copy
from fastreid_ext.generation.filters.run import THRESHOLDS, FilterRun
from fastreid_ext.generation.filters.source_file import read_sources
from fastreid_ext.generation.filters.thresholds import thresholds_as_json, thresholds_of
from fastreid_ext.generation.filters.whole_set import update_counts
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.manifest import Row, read_identity, read_set, write_identity
from fastreid_ext.saved_settings import expect_same

_SET = "images"
_FILTER = "filter"


def decided_copy(cfg: CfgNode, job: Path, target: Path, *, share: float = 1.0) -> Path:
    """Copy the set of a finished job and decide on its images by the filters of ``cfg``.

    No image is scored: the rows must have the scores of the filters in GENERATION.FILTER.USE.

    Args:
        cfg: configuration, of which GENERATION.FILTER decides.
        job: OUTPUT_DIR of the finished job.
        target: folder of the copy, which appears once it is complete; an existing copy with equal
            thresholds is kept.
        share: share in (0, 1] of the kept images of each identity, at least one, equal in every
            run. Below 1 the copy has no other images.

    Returns:
        The folder of the set, for DATASETS.GENERATED.ROOTS.

    Raises:
        FileNotFoundError: the job is not finished.
        ValueError: a share out of range, a row lacks a score, or an existing copy has other
            thresholds.
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share of the images in (0, 1], got {share}")
    if (target / _SET / "dataset.json").is_file():
        _expect_same_thresholds(cfg, target)
        return target / _SET
    layout = Layout(job)
    partial = target.with_name(f".{target.name}.partial")
    read_set(layout.images)  # raises if the job is not finished
    shutil.rmtree(partial, ignore_errors=True)
    # Card and pictures describe the decisions of the job, not of the copy.
    without = shutil.ignore_patterns("README.md")
    shutil.copytree(layout.images, partial / _SET, copy_function=_link, ignore=without)
    shutil.copytree(layout.filter, partial / _FILTER, ignore=shutil.ignore_patterns("*.png"))
    run = FilterRun(cfg, {}, images=partial / _SET, output=partial / _FILTER)
    counts = run.decide(run.names())
    if share < 1:
        counts = _thin(partial / _SET, share)
    update_counts(partial / _SET, counts)
    os.replace(partial, target)
    return target / _SET


def _expect_same_thresholds(cfg: CfgNode, copy: Path) -> None:
    sources = read_sources(copy / _FILTER)
    wanted = json.loads(thresholds_as_json(thresholds_of(cfg.GENERATION.FILTER, sources), sources))
    found = json.loads((copy / _FILTER / THRESHOLDS).read_text(encoding="utf-8"))
    expect_same(
        {key: found.get(key) for key in wanted},
        wanted,
        found=f"the copy in {copy} was decided by other thresholds",
        advice="remove it and what was trained on it, or give the copy another folder",
    )


def _thin(images: Path, share: float) -> Counter[str]:
    """Remove all images but a share of those that are "ok"; return the counts."""
    counts: Counter[str] = Counter()
    for manifest in sorted(images.glob("*/metadata.jsonl")):
        rows = read_identity(manifest.parent)
        kept = _chosen([row for row in rows if row.image.status == "ok"], share)
        for row in rows:
            if row not in kept:
                row.path.unlink(missing_ok=True)
        (manifest.parent / "failures.jsonl").unlink(missing_ok=True)
        write_identity(manifest.parent, [row.image for row in kept])
        counts["ok"] += len(kept)
    return counts


def _chosen(rows: Sequence[Row], share: float) -> list[Row]:
    """Choose rows by hash, so that a larger share contains a smaller one."""

    def by_hash(row: Row) -> str:
        return hashlib.sha256(row.image.sha256.encode()).hexdigest()

    number = max(round(share * len(rows)), min(1, len(rows)))
    chosen = sorted(rows, key=by_hash)[:number]
    return [row for row in rows if row in chosen]


def _link(source: str, target: str) -> None:
    """Link images, which are never written to; copy text files, which are replaced."""
    if source.endswith((".jpg", ".png")):
        link_or_copy(Path(source), Path(target))
    else:
        shutil.copy2(source, target)
