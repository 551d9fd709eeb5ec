"""Stage 3: generate the reference sets, each shared by identities with similar captions."""

import functools
import json
import logging
from collections.abc import Sequence

from fastreid.config import CfgNode

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.generation.captions.prompts import cluster_prompts, reference_cost
from fastreid_ext.generation.captions.text_features import TextFeatures
from fastreid_ext.generation.runs.stage import REFERENCE, StageReport, Work, run_stage
from fastreid_ext.generation.runs.workers import wait_for
from fastreid_ext.generation.sampling.reference_set import (
    ReferenceSettings,
    is_reference_set,
    make_reference_set,
)
from fastreid_ext.generation.sampling.sampler import check_sampling_settings
from fastreid_ext.generation.stages.job import Job, read_clusters

_log = logging.getLogger(__name__)


def expect_reference_sets_wanted(cfg: CfgNode) -> None:
    """Check that the job has reference sets.

    Args:
        cfg: full configuration of the job.

    Raises:
        ValueError: GENERATION.REFERENCE_SET.IMAGES is 0.
    """
    if not cfg.GENERATION.REFERENCE_SET.IMAGES:
        raise ValueError(
            "GENERATION.REFERENCE_SET.IMAGES is 0: this job has no reference sets; raise it, or "
            "go on with tools/generate_persons.py fine-tune"
        )


def assign_reference_sets(job: Job) -> None:
    """Decide which identities share a reference set, and write ``clusters.json``.

    The first worker decides, so that all agree whatever their devices round to. A file that was
    made for the current prompts stays.

    Args:
        job: job whose ``clusters`` can be read afterwards.

    Raises:
        TimeoutError: the first worker does not decide.
        ValueError: the file is damaged.
    """
    if not job.has_reference_sets:
        return
    path = job.layout.clusters

    def is_current(_: str) -> bool:
        return path.is_file() and read_clusters(path)["references"] == job.references

    if not is_current(""):
        if job.worker.is_first:
            _write_clusters(job)
        else:
            wait_for(["clusters"], is_current, stage="clusters", worker=job.worker)
    if job.worker.is_first:
        sets = len(set(job.clusters.values()))
        _log.info("%s", reference_cost(sets, len(job.clusters), job.cfg))


def make_reference_sets(job: Job) -> StageReport:
    """Generate this worker's reference sets, and wait for those of the others.

    A set also counts as done once every identity that uses it has been generated, or generated in
    part with its weights kept, from its current prompt.

    Args:
        job: job whose reference sets are assigned.

    Raises:
        TimeoutError: other workers do not generate theirs.
    """
    sets = sorted(job.leaders)
    users: dict[str, list[str]] = {cluster: [] for cluster in sets}
    for name, cluster in job.clusters.items():
        users[cluster].append(name)

    def needs_no_set(name: str) -> bool:
        # Another worker may be about to remove images that an older prompt generated.
        return not job.has_changed(name) and not job.needs_fine_tuning(name)

    def is_done(cluster: str) -> bool:
        has_set = is_reference_set(job.layout.reference_set(cluster))
        return has_set or all(map(needs_no_set, users[cluster]))

    images = job.cfg.GENERATION.REFERENCE_SET.IMAGES
    report = run_stage(
        sets,
        lambda: open_generation(job),
        is_done,
        stage=REFERENCE,
        worker=job.worker,
        bytes_each=images * job.reference_bytes,
    )
    wait_for(
        sets,
        lambda cluster: is_done(cluster) or job.worker.has_failed(REFERENCE, cluster),
        stage=REFERENCE,
        worker=job.worker,
    )
    return report


def _write_clusters(job: Job) -> None:
    least = job.cfg.GENERATION.REFERENCE_SET.MIN_SIMILARITY
    load_features = functools.cache(lambda: TextFeatures.from_config(job.cfg))
    clusters = cluster_prompts(job.references, lambda texts: load_features()(texts), least)
    content = {"references": job.references, "clusters": clusters}
    path = job.layout.clusters
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def open_generation(job: Job) -> Work:
    """Load the model; the returned work generates the sets that it is given."""
    settings = ReferenceSettings.from_config(job.cfg)
    check_sampling_settings(job.sampling_model, settings.sampling)

    def work(clusters: Sequence[str]) -> dict[str, str]:
        for cluster in clusters:
            prompt = job.leaders[cluster]
            make_reference_set(job.sampling_model, prompt, cluster, job.layout.output, settings)
        return {}

    return work
