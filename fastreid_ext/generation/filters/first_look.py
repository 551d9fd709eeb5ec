"""Filter the first generated identities at once, so that a useless job is noticed early.

Otherwise the filters would reject everything days later, when all identities are generated.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from fastreid.config import CfgNode

from fastreid_ext.generation.filters.run import FilterRun
from fastreid_ext.generation.runs.stage import free_memory
from fastreid_ext.manifest import read_identity

_LITTLE = 0.2  # share of kept images below which a warning is logged
_log = logging.getLogger(__name__)


def first_look(cfg: CfgNode, models: Mapping[str, tuple], names: Sequence[str]) -> None:
    """Score and decide on identities, and warn if few of their images are kept.

    Scores stay in the rows, so the filter stage does not repeat them. An error is logged but does
    not stop the job, because the identities are finished.

    Args:
        cfg: full configuration of the generation job.
        models: trained models of the filters, see :class:`FilterRun`.
        names: names of the finished identities to filter.
    """
    if not set(cfg.GENERATION.FILTER.USE) - {"duplicates"}:
        return
    try:
        run = FilterRun(cfg, models)
        run.open_work()(names)
        counts = run.decide(names)
    except (OSError, ValueError) as error:
        _log.warning("the filters could not look at %s: %s", ", ".join(names), error)
        return
    finally:
        free_memory()
    kept = counts["ok"]
    made = kept + counts["rejected"]
    text = f"{kept} of {made} images of the first {len(names)} identities pass the filters"
    if kept >= _LITTLE * made:
        _log.info("%s", text)
        return
    _log.warning(
        "only %s; most frequent reason: %s. Look at %s now: GENERATION.FILTER may change at any "
        "time, other FINE_TUNING or SAMPLING keys need another OUTPUT_DIR",
        text,
        _most_frequent(run, names),
        run.images / names[0],
    )


def _most_frequent(run: FilterRun, names: Sequence[str]) -> str:
    """Return an example reason of the filter that rejects most images."""
    reasons = [
        row.image.reason
        for name in names
        for row in read_identity(run.images / name)
        if row.image.status == "rejected"
    ]
    if not reasons:
        return "none"
    kinds = Counter(reason.partition(":")[0] for reason in reasons)
    kind = kinds.most_common(1)[0][0]
    return next(reason for reason in reasons if reason.startswith(kind))
