"""Filter a whole set at once: score, decide, count, draw."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.generation.filters.pictures import draw_contact_sheet, draw_histograms
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.filters.source_file import read_sources
from fastreid_ext.generation.runs.stage import run_stage
from fastreid_ext.generation.runs.workers import Shard, Worker, shard_lock
from fastreid_ext.manifest import GeneratedSet, read_identity, write_set
from fastreid_ext.manifest.record import from_json

STAGE = "filter"
TOGETHER = 8  # identities scored at once, to fill batches


@dataclasses.dataclass(frozen=True)
class FilterReport:
    """What became of a set.

    Attributes:
        counts: status -> rows.
        unscored: identity -> why it could not be scored.
        pictures: written files.
    """

    counts: Mapping[str, int]
    unscored: Mapping[str, str]
    pictures: tuple[Path, ...]

    def __str__(self) -> str:
        kept, rejected = self.counts.get("ok", 0), self.counts.get("rejected", 0)
        share = kept / max(1, kept + rejected)
        text = f"kept {kept} ({share:.1%}), rejected {rejected}"
        if self.unscored:
            text += f"; {len(self.unscored)} identities could not be scored and are rejected"
        return text


def run_filter(
    cfg: CfgNode,
    models: Mapping[str, tuple],
    *,
    images: Path | None = None,
    decide_only: bool = False,
    retry_failed: bool = False,
    draw: bool = True,
) -> FilterReport:
    """Filter a finished set in this process; files of the filters go to ``OUTPUT_DIR/filter``.

    Args:
        cfg: see :class:`FilterRun`.
        models: see :class:`FilterRun`; {} with ``decide_only``.
        images: the set; None: that of the job in OUTPUT_DIR.
        decide_only: use the scores that are there.
        retry_failed: try identities again that could not be scored.
        draw: draw the pictures, which reads the whole set once more.

    Raises:
        FileNotFoundError: no set, data set, or model there.
        ValueError: a row is damaged or lacks a score, another process works on the set, or nothing
            can be scored.
    """
    run = FilterRun(cfg, models, images=images)
    retries = (STAGE,) if retry_failed else ()
    worker = Worker(output=Path(cfg.OUTPUT_DIR), shard=Shard(), retries=retries)
    names, unscored = run.names(), {}
    with shard_lock(worker.output, worker.shard):
        if not decide_only:
            report = run_stage(
                names,
                run.open_work,
                run.is_scored,
                stage=STAGE,
                worker=worker,
                together=TOGETHER,
            )
            unscored = dict(report.failed)
        counts = run.decide(names, unscored)
        update_counts(run.images, counts)
        return FilterReport(dict(counts), unscored, draw_pictures(run) if draw else ())


def draw_pictures(run: FilterRun) -> tuple[Path, ...]:
    """Draw histograms of all scores, and a contact sheet of some identities."""
    read = {name: read_identity(run.images / name) for name in run.names()}
    rows = {name: own for name, own in read.items() if own}
    if not rows:
        return ()
    thresholds, sources = run.thresholds(), read_sources(run.output)
    histograms = run.output / "histograms.png"
    sheet = run.output / "contact_sheet.png"
    return (
        draw_histograms(rows.values(), thresholds, sources, histograms),
        draw_contact_sheet(rows, run.photographs(), thresholds, sheet),
    )


def update_counts(root: Path, counts: Counter[str]) -> None:
    """Write the numbers of rows into ``dataset.json``, if the set has one."""
    path = root / "dataset.json"
    if path.is_file():
        generated = from_json(GeneratedSet, path.read_text(encoding="utf-8"), str(path))
        write_set(root, dataclasses.replace(generated, counts=dict(sorted(counts.items()))))
