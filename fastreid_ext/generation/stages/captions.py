"""The stages of a job that need no diffusion model: who, and in which words."""

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastreid.config import CfgNode
from transformers import CLIPTokenizer

from fastreid_ext.atomic import atomic_write_text
from fastreid_ext.diffusion.pipeline_folder import find_base_folder
from fastreid_ext.diffusion.stable_diffusion import read_tokenizer
from fastreid_ext.generation.captions.captioning import (
    assemble_captions,
    has_answers,
    open_captioning,
)
from fastreid_ext.generation.captions.captions_file import CaptionRow, captions_file, read_captions
from fastreid_ext.generation.captions.prompts import (
    Prompts,
    check_length,
    check_token,
    cluster_prompts,
    leaders_of,
    prompts_of,
    prompts_to_fit,
    reference_cost,
)
from fastreid_ext.generation.captions.text_features import TextFeatures
from fastreid_ext.generation.identities.identity_list import (
    Identity,
    find_identities,
    left_out,
    read_identities,
    used_identities,
    write_identities,
)
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.stage import StageReport, run_stage, settle
from fastreid_ext.generation.runs.workers import Worker, wait_for

_log = logging.getLogger(__name__)


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
    identities = read_identities(path)
    if worker.shard.index == 0:
        _say_left_out(identities, path)
    return used_identities(identities)[: limit or None]


def ask_captioner(cfg: CfgNode, worker: Worker, identities: Sequence[Identity]) -> StageReport:
    """Ask about this worker's identities, but for those that have a caption already."""
    output, rows, captions = worker.output, _rows(worker.output), cfg.GENERATION.CAPTIONS
    images = min(captions.MAX_IMAGES or 16, cfg.GENERATION.IDENTITIES.MAX_IMAGES or 16)
    return run_stage(
        [identity.name for identity in identities],
        lambda: open_captioning(cfg, identities, output, cfg.MODEL.DEVICE),
        lambda name: name in rows or has_answers(output, name),
        stage="captions",
        worker=worker,
        together=max(1, 4 * captions.BATCH_SIZE // images),
    )


def captions_of_job(
    cfg: CfgNode, worker: Worker, identities: Sequence[Identity]
) -> dict[str, CaptionRow]:
    """Return the captions; the first worker assembles them when all answers are there."""
    output, names = worker.output, [identity.name for identity in identities]
    rows = _rows(output)

    def is_settled(name: str) -> bool:
        return name in rows or has_answers(output, name) or worker.has_failed("captions", name)

    if not all(name in rows or worker.has_failed("captions", name) for name in names):
        wait_for(names, is_settled, stage="captions", worker=worker)
        if worker.shard.index == 0:
            features = TextFeatures.from_config(cfg)
            assemble_captions(output, names, cfg, features=features, tokenizer=_tokenizer(cfg))
        else:
            answered = {name for name in names if has_answers(output, name)}
            wait_for(
                ["captions"],
                lambda _: answered <= _rows(output).keys(),
                stage="captions",
                worker=worker,
            )
    rows = read_captions(output)
    return {name: rows[name] for name in names if name in rows}


def prompts_of_job(
    cfg: CfgNode, worker: Worker, rows: Mapping[str, CaptionRow]
) -> dict[str, Prompts]:
    """Return the prompts; an identity whose prompt cannot be used fails with the reason.

    Raises:
        ValueError: PROMPT.TOKEN is no single token.
    """
    tokenizer = _tokenizer(cfg)
    check_token(tokenizer, cfg.GENERATION.PROMPT.TOKEN)
    prompts = {}
    for name, row in rows.items():
        reason = ""
        try:
            own = prompts_of(row, cfg)
            for prompt in prompts_to_fit(cfg, row.caption):
                check_length(tokenizer, prompt)
            prompts[name] = own
        except ValueError as error:
            reason = str(error)
            _log.warning("%s: %s", name, reason)  # whoever was drawn before would hide it
        settle(worker, "prompts", name, reason)
    return prompts


def clusters_of_job(
    cfg: CfgNode, worker: Worker, prompts: Mapping[str, Prompts]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return identity -> cluster, and cluster -> prompt of its reference set.

    The first worker decides, so that all have the same whatever their devices round to.
    """
    path = Layout(worker.output).clusters
    references = {name: own.reference for name, own in prompts.items()}

    def is_current(_: str) -> bool:
        return path.is_file() and _clusters(path)["references"] == references

    if not is_current(""):
        if worker.shard.index == 0:
            least = cfg.GENERATION.REFERENCE_SET.MIN_SIMILARITY
            features = functools.cache(lambda: TextFeatures.from_config(cfg))
            clusters = cluster_prompts(references, lambda texts: features()(texts), least)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"references": references, "clusters": clusters}
            atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        else:
            wait_for(["clusters"], is_current, stage="clusters", worker=worker)
    clusters = _clusters(path)["clusters"]
    if worker.shard.index == 0:
        _log.info("%s", reference_cost(len(set(clusters.values())), len(clusters), cfg))
    return clusters, leaders_of(references, clusters)


def _say_left_out(identities: Sequence[Identity], path: Path) -> None:
    groups = left_out(identities)
    if not groups:
        return
    number = sum(map(len, groups.values()))
    _log.warning("%d of %d identities are left out (all in %s):", number, len(identities), path)
    for texts in groups.values():
        _log.warning("  %d, e.g. %s", len(texts), texts[0])


def _clusters(path: Path) -> dict[str, dict[str, str]]:
    """Read clusters.json: the prompts it was made for, and the clusters."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: dict(content[key]) for key in ("references", "clusters")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it, and it is made again"
        ) from error


def _rows(output: Path) -> dict[str, CaptionRow]:
    return read_captions(output) if captions_file(output).is_file() else {}


def _tokenizer(cfg: CfgNode) -> CLIPTokenizer:
    generation = cfg.GENERATION
    folder = find_base_folder(
        generation.BASE_MODEL, revision=generation.REVISION, download=generation.DOWNLOAD
    )
    return read_tokenizer(folder)


def _written_limit(output: Path) -> int | None:
    """Return the LIMIT that identities.jsonl was written with, None if not known."""
    try:
        return int(Layout(output).limit.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _write_limit(output: Path, limit: int) -> None:
    atomic_write_text(Layout(output).limit, f"{limit}\n")
