"""Stage 4 of a job by itself: learn persons, to be drawn later."""

from collections.abc import Collection, Mapping

from fastreid.config import CfgNode

from fastreid_ext.diffusion.adapter_files import is_trained
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.fine_tuning.adapter_bytes import learned_bytes
from fastreid_ext.generation.identities.identity_list import Identity
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import StageReport, run_stage
from fastreid_ext.generation.runs.workers import Worker
from fastreid_ext.generation.sampling.reference_set import is_reference_set
from fastreid_ext.generation.stages.fine_tuning_work import tuning_work
from fastreid_ext.generation.stages.sampling import Models, is_to_be_tuned

FINE_TUNING = "fine_tuning"


def tune_persons_of_job(
    cfg: CfgNode,
    worker: Worker,
    people: Mapping[str, Identity],
    prompts: Mapping[str, Prompts],
    clusters: Mapping[str, str],
    wanted: Collection[str] = (),
) -> StageReport:
    """Learn this worker's persons, or those of ``wanted``.

    Raises:
        FileNotFoundError: a reference set is missing.
        ValueError: nobody is called so.
    """
    layout = Layout(worker.output)
    names = named_persons(wanted, prompts)
    for name in names:
        if name in clusters and not is_reference_set(layout.reference_set(clusters[name])):
            raise FileNotFoundError(
                f"{name} has no reference set in {layout.reference_set(clusters[name])}; run "
                "tools/generate_persons.py reference first, or set "
                "GENERATION.REFERENCE_SET.IMAGES 0"
            )
    is_full = cfg.GENERATION.FINE_TUNING.METHOD == "full"
    return run_stage(
        names,
        lambda: tuning_work(cfg, Models(cfg).base, people, prompts, clusters, layout),
        lambda name: is_trained(layout.adapter(name)) or not is_to_be_tuned(cfg, layout, name),
        stage=FINE_TUNING,
        worker=worker,
        together=1 if is_full else cfg.GENERATION.FINE_TUNING.IDENTITIES_AT_ONCE,
        bytes_each=learned_bytes(cfg),
    )


def named_persons(wanted: Collection[str], known: Collection[str]) -> list[str]:
    """Return ``wanted``, or all who are ``known`` if it is empty.

    Raises:
        ValueError: somebody is not known.
    """
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ValueError(
            f"nobody of this job with a caption is called {', '.join(unknown)}; there is "
            f"{', '.join(list(known)[:3]) or 'nobody'}{', ...' if len(known) > 3 else ''}"
        )
    return list(wanted) or list(known)
