"""Filter a whole set at once: score, decide, count, plot."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.generation.filters.pictures import plot_contact_sheet, plot_histograms
from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.filters.source_file import read_sources
from fastreid_ext.generation.runs.stage import FILTER, run_stage
from fastreid_ext.generation.runs.workers import Shard, Worker, shard_lock
from fastreid_ext.manifest import GeneratedSet, read_identity, write_set
from fastreid_ext.manifest.record import from_json

TOGETHER = 8  # identities scored at once, to fill batches


@dataclasses.dataclass(frozen=True)
class FilterReport:
    """Result of filtering a set.

    Attributes:
        counts: status -> number of rows.
        unscored: identity -> reason why it could not be scored.
        pictures: files of the plotted pictures.
    """

    counts: Mapping[str, int]
    unscored: Mapping[str, str]
    pictures: tuple[Path, ...]

    def __str__(self) -> str:
        kept = self.counts.get("ok", 0)
        rejected = self.counts.get("rejected", 0)
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
    plot: bool = True,
) -> FilterReport:
    """Filter a finished set in this process; files of the filters go to ``OUTPUT_DIR/filter``.

    Args:
        cfg: configuration as :class:`FilterRun` takes it.
        models: models as :class:`FilterRun` takes them; {} with ``decide_only``.
        images: folder of the set; None for that of the job in OUTPUT_DIR.
        decide_only: whether to use existing scores without scoring.
        retry_failed: whether to try identities again that could not be scored.
        plot: whether to plot the pictures, which reads the whole set once more.

    Raises:
        FileNotFoundError: the set, a data set or a model is missing.
        ValueError: a row is damaged or lacks a score, another process works on the set, or nothing
            can be scored.
    """
    run = FilterRun(cfg, models, images=images)
    retries = (FILTER,) if retry_failed else ()
    worker = Worker(output=Path(cfg.OUTPUT_DIR), shard=Shard(), retries=retries)
    names = run.names()
    unscored: dict[str, str] = {}
    with shard_lock(worker.output, worker.shard):
        if not decide_only:
            report = run_stage(
                names,
                run.open_work,
                run.is_scored,
                stage=FILTER,
                worker=worker,
                together=TOGETHER,
            )
            unscored = dict(report.failed)
        counts = run.decide(names, unscored)
        update_counts(run.images, counts)
        return FilterReport(dict(counts), unscored, plot_filter_results(run) if plot else ())


def plot_filter_results(run: FilterRun) -> tuple[Path, ...]:
    """Plot histograms of all scores, and a contact sheet of some identities."""
    read = {name: read_identity(run.images / name) for name in run.names()}
    rows = {name: own for name, own in read.items() if own}
    if not rows:
        return ()
    thresholds = run.thresholds()
    sources = read_sources(run.output)
    histograms = run.output / "histograms.png"
    sheet = run.output / "contact_sheet.png"
    return (
        plot_histograms(rows.values(), thresholds, sources, histograms),
        plot_contact_sheet(rows, run.real_images(), thresholds, sheet),
    )


def update_counts(root: Path, counts: Counter[str]) -> None:
    """Write the numbers of rows into ``dataset.json``, if the set has one."""
    path = root / "dataset.json"
    if path.is_file():
        generated = from_json(GeneratedSet, path.read_text(encoding="utf-8"), str(path))
        write_set(root, dataclasses.replace(generated, counts=dict(sorted(counts.items()))))
