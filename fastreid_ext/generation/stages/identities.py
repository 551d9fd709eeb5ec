"""Stage 1: list the identities of the job's data sets, with the real images to learn from."""

import logging

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.generation.identities.identity_list import (
    find_identities,
    left_out,
    read_identities,
    write_identities,
)
from fastreid_ext.generation.runs.stage import LIST
from fastreid_ext.generation.runs.workers import wait_for
from fastreid_ext.generation.stages.job import Job

_log = logging.getLogger(__name__)


def list_identities(job: Job) -> None:
    """Write ``identities.jsonl`` once: the first worker does, the others wait for it.

    A larger IDENTITIES.LIMIT makes the first worker list them again; with a smaller one the job
    uses fewer of the list.

    Args:
        job: job whose ``identities`` can be read afterwards.

    Raises:
        FileNotFoundError: a data set is missing.
        TimeoutError: the first worker does not list them.
        ValueError: no identity can be used.
    """
    if not _has_enough(job):
        if job.worker.is_first:
            write_identities(job.layout.identities, find_identities(job.cfg))
            limit = job.cfg.GENERATION.IDENTITIES.LIMIT
            atomic_write_text(job.layout.limit, f"{limit}\n")
        else:
            wait_for(
                ["identities"],
                lambda _: _has_enough(job),
                stage=LIST,
                worker=job.worker,
            )
    if job.worker.is_first:
        _report_left_out(job)


def _has_enough(job: Job) -> bool:
    """Tell whether the list holds as many identities as IDENTITIES.LIMIT asks for."""
    path = job.layout.identities
    if not path.is_file():
        return False
    limit = job.cfg.GENERATION.IDENTITIES.LIMIT
    if _limit_of_list(job) in (0, limit):
        return True
    usable = sum(not identity.reason for identity in read_identities(path))
    return 0 < limit <= usable


def _limit_of_list(job: Job) -> int | None:
    """Read the LIMIT that the list was written with; None if it is unknown."""
    try:
        return int(job.layout.limit.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _report_left_out(job: Job) -> None:
    path = job.layout.identities
    identities = read_identities(path)
    groups = left_out(identities)
    if not groups:
        return
    number = sum(map(len, groups.values()))
    _log.warning("%d of %d identities are left out (all in %s):", number, len(identities), path)
    for texts in groups.values():
        _log.warning("  %d, e.g. %s", len(texts), texts[0])
