"""Stage 2: caption the identities, one row of ``captions.jsonl`` each."""

import logging
from collections.abc import Mapping, Sequence

from fastreid_ext.generation.captions.captioning import (
    assemble_captions,
    has_answers,
    open_captioning,
)
from fastreid_ext.generation.captions.captions_file import CaptionRow, captions_file, read_captions
from fastreid_ext.generation.captions.text_features import TextFeatures
from fastreid_ext.generation.runs.stage import CAPTION, StageReport, run_stage
from fastreid_ext.generation.runs.workers import wait_for
from fastreid_ext.generation.stages.job import Job

_IMAGES_AT_ONCE = 4  # batches of the captioner that a group of identities fills
_USUAL_IMAGES = 16  # images of an identity where no key limits them
_log = logging.getLogger(__name__)


def caption(job: Job, names: Sequence[str]) -> StageReport:
    """Caption identities that have no row in ``captions.jsonl`` yet.

    Every worker asks the captioner about its own identities and keeps the answers in
    ``captions/<identity>.json``. The first worker waits for all answers and appends the rows, so
    the file has one writer. Rows that exist are never changed.

    Args:
        job: job whose ``captions`` can be read afterwards.
        names: identities of all workers, in the order of their rows.

    Raises:
        FileNotFoundError: no identity has a caption, or a model is missing.
        TimeoutError: other workers do not answer for their identities.
        ValueError: a file is damaged.
    """
    report = _ask_captioner(job, names)
    rows = _read_rows(job)
    if not all(name in rows or job.worker.has_failed(CAPTION, name) for name in names):
        _assemble_rows(job, names, rows)
    _log.info("%d of %d identities have a caption", len(job.captions), len(names))
    return report


def _ask_captioner(job: Job, names: Sequence[str]) -> StageReport:
    rows = _read_rows(job)
    output = job.layout.output
    generation = job.cfg.GENERATION
    images = min(
        generation.CAPTIONS.MAX_IMAGES or _USUAL_IMAGES,
        generation.IDENTITIES.MAX_IMAGES or _USUAL_IMAGES,
    )
    return run_stage(
        names,
        lambda: open_captioning(
            job.cfg, list(job.identities.values()), output, job.cfg.MODEL.DEVICE
        ),
        lambda name: name in rows or has_answers(output, name),
        stage=CAPTION,
        worker=job.worker,
        together=max(1, _IMAGES_AT_ONCE * generation.CAPTIONS.BATCH_SIZE // images),
    )


def _assemble_rows(job: Job, names: Sequence[str], rows: Mapping[str, CaptionRow]) -> None:
    """Append a row for each answered identity (first worker), or wait until that is done."""
    output = job.layout.output

    def is_settled(name: str) -> bool:
        is_answered = name in rows or has_answers(output, name)
        return is_answered or job.worker.has_failed(CAPTION, name)

    wait_for(names, is_settled, stage=CAPTION, worker=job.worker)
    if job.worker.is_first:
        features = TextFeatures.from_config(job.cfg)
        assemble_captions(output, names, job.cfg, features=features, tokenizer=job.tokenizer)
        return
    answered = {name for name in names if has_answers(output, name)}
    wait_for(
        [CAPTION],
        lambda _: answered <= _read_rows(job).keys(),
        stage=CAPTION,
        worker=job.worker,
    )


def _read_rows(job: Job) -> Mapping[str, CaptionRow]:
    """Read all rows of ``captions.jsonl``; {} before the file exists."""
    output = job.layout.output
    return read_captions(output) if captions_file(output).is_file() else {}
