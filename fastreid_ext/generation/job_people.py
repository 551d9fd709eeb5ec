"""The stages of a job that need no diffusion model: who, and in which words."""

import json
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.generation.identities import (
    Identity,
    find_identities,
    read_identities,
    used_identities,
    write_identities,
)
from fastreid_ext.generation.job_folder import SETTINGS
from fastreid_ext.generation.layout import Layout
from fastreid_ext.generation.workers import Worker, wait_for

_LIMIT = "GENERATION.IDENTITIES.LIMIT"


def identities_of_job(cfg: CfgNode, worker: Worker) -> list[Identity]:
    """Return whom the job draws; the first worker finds them, once.

    A LIMIT that grew makes it look again; one that shrank takes fewer of the file.

    Raises:
        FileNotFoundError: a data set is not there.
        ValueError: no person can be used.
    """
    limit = cfg.GENERATION.IDENTITIES.LIMIT
    path = Layout(worker.output).identities

    def is_enough(_: str) -> bool:
        if not path.is_file():
            return False
        written = _written_limit(worker.output)
        if written in (0, limit):
            return True
        used = sum(not identity.reason for identity in read_identities(path))
        return 0 < limit <= used

    if not is_enough(""):
        if worker.shard.index == 0:
            write_identities(path, find_identities(cfg))
            _write_limit(worker.output, limit)
        else:
            wait_for(["identities"], is_enough, stage="identities", worker=worker)
    return used_identities(read_identities(path))[: limit or None]


def _written_limit(output: Path) -> int | None:
    """Return the LIMIT that identities.jsonl was written with, None if not known."""
    return json.loads((output / SETTINGS).read_text(encoding="utf-8")).get(_LIMIT)


def _write_limit(output: Path, limit: int) -> None:
    settings = json.loads((output / SETTINGS).read_text(encoding="utf-8")) | {_LIMIT: limit}
    atomic_write_text(output / SETTINGS, json.dumps(settings, indent=2) + "\n")
