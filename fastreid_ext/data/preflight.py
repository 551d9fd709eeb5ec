"""Look at the data of a run before it starts: is it there, readable, and enough for the batches?"""

import os
import statistics
from collections import Counter
from dataclasses import dataclass, field
from itertools import compress

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.utils import comm
from tabulate import tabulate

from fastreid_ext.data.build import mixed_batches, sampling_problems
from fastreid_ext.data.image_check import unreadable_images
from fastreid_ext.data.sources import TrainingItems, query_and_gallery, training_items

HEADERS = ("data set", "split", "images", "persons", "images per person", "one image", "cameras")

# Sets whose training persons are renumbered from 0, so that equal numbers are no equal persons.
_RENUMBERED = ("cuhk03",)
# Files named in the report; the rest is counted.
_MOST_NAMED = 50


@dataclass
class PreflightReport:
    """What was found.

    Attributes:
        rows: cells of the table, under ``HEADERS``.
        problems: what stops a run, each with what to do.
        warnings: what does not.
    """

    rows: list[tuple] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether a run may start."""
        return not self.problems

    def __str__(self) -> str:
        """Table, then warnings, then problems."""
        table = tabulate(self.rows, headers=HEADERS, tablefmt="pipe", numalign="left")
        lines = [table] if self.rows else []
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"problem: {text}" for text in self.problems]
        return "\n".join(lines)

    def raise_if_not_ok(self) -> None:
        """Raise ValueError with all problems, if there are any."""
        if self.problems:
            raise ValueError("the data cannot be used:\n  - " + "\n  - ".join(self.problems))


def preflight(cfg: CfgNode, *, world_size: int | None = None) -> PreflightReport:
    """Check training and test data of a configuration; never raises for what it finds.

    Args:
        cfg: a checked configuration; ``DATASETS.PREFLIGHT`` "full" decodes all images, "headers"
            opens them, "off" does not touch them (and only them).
        world_size: number of training processes; None for the present number.
    """
    report = PreflightReport()
    world_size = world_size or comm.get_world_size()
    paths: dict[str, None] = {}  # a set in order
    training = _check_training(cfg, world_size, report)
    if training:
        paths.update((path, None) for path, _, _ in training.items)
    for name in cfg.DATASETS.TESTS:
        paths.update((path, None) for path in _check_test(cfg, name, training, report))
    if cfg.DATASETS.PREFLIGHT != "off":
        _check_files(list(paths), cfg.DATASETS.PREFLIGHT, report)
    report.problems = list(dict.fromkeys(report.problems))  # a set missing for training and test
    return report


def _check_training(cfg: CfgNode, world_size: int, report: PreflightReport) -> TrainingItems | None:
    try:
        training = training_items(cfg)
    except (OSError, ValueError, ImportError) as error:
        report.problems.append(str(error))
        return None
    for name in dict.fromkeys(training.source):
        own = list(compress(training.items, (source == name for source in training.source)))
        report.rows.append(_row(name, "train", own))
    report.problems += sampling_problems(cfg, training, world_size)
    _check_singles(cfg, training, report)
    _check_share(cfg, training, report)
    _check_left_out(cfg, training, report)
    _check_duplicates(training, report)
    return training


def _row(name: str, split: str, items: list[tuple]) -> tuple:
    counts = list(Counter(pid for _, pid, _ in items).values())
    spread = f"{min(counts)} / {statistics.median(counts):g} / {max(counts)}"
    cameras = len({camid for _, _, camid in items})
    return name, split, len(items), len(counts), spread, counts.count(1), cameras


def _check_singles(cfg: CfgNode, training: TrainingItems, report: PreflightReport) -> None:
    counts = Counter(pid for _, pid, _ in training.items)
    instances = cfg.DATALOADER.NUM_INSTANCE
    single = sum(count == 1 for count in counts.values())
    if single and "Identity" in cfg.DATALOADER.SAMPLER_TRAIN:
        report.warnings.append(
            f"{single} of {len(counts)} persons have one training image: their "
            f"DATALOADER.NUM_INSTANCE {instances} images in a batch are copies of it, so a triplet "
            "loss has no true positive there; leave these persons out or add images"
        )


def _check_share(cfg: CfgNode, training: TrainingItems, report: PreflightReport) -> None:
    mixed = mixed_batches(cfg, training, world_size=1)
    if not cfg.DATASETS.GENERATED.BATCH_SHARE or not mixed.within_persons:
        return
    if one_kind := mixed.persons_of_one_kind():
        report.warnings.append(
            f"{one_kind} of {len({pid for _, pid, _ in training.items})} persons have real images "
            "only or generated ones only and give just those, so batches with them do not have the "
            f"DATASETS.GENERATED.BATCH_SHARE of {cfg.DATASETS.GENERATED.BATCH_SHARE:g}"
        )


def _check_left_out(cfg: CfgNode, training: TrainingItems, report: PreflightReport) -> None:
    """A small set of persons is none if generated images bring the others back."""
    if not cfg.DATASETS.SUBSET or cfg.DATASETS.GENERATED.PERSON_IDS != "kept":
        return
    pids = [pid for _, pid, _ in training.items]
    generated = set(compress(pids, training.is_generated))
    only = generated.difference(compress(pids, (not made for made in training.is_generated)))
    if only:
        report.warnings.append(
            f"{len(only)} persons are trained on from generated images only: DATASETS.SUBSET "
            f"{cfg.DATASETS.SUBSET} leaves their real images out, not the generated ones; generate "
            "from the persons of the list to see what the subset alone gives"
        )


def _check_duplicates(training: TrainingItems, report: PreflightReport) -> None:
    persons: dict[str, set[str]] = {}
    for path, pid, _ in training.items:
        persons.setdefault(os.path.abspath(path), set()).add(pid)
    shared = [path for path, pids in persons.items() if len(pids) > 1]
    if shared:
        pids = ", ".join(sorted(persons[shared[0]]))
        report.problems.append(
            f"{len(shared)} images are listed under several persons (e.g. {shared[0]} as {pids}); "
            "is a generated set listed twice in DATASETS.GENERATED.ROOTS? Keep one"
        )
    repeated = len(training.items) - len(persons)
    if repeated:
        report.warnings.append(
            f"{repeated} training images are listed more than once; is a data set named twice in "
            "DATASETS.NAMES or DATASETS.GENERATED.ROOTS?"
        )


def _check_test(
    cfg: CfgNode, name: str, training: TrainingItems | None, report: PreflightReport
) -> list[str]:
    """Check one test set; returns its image paths."""
    try:
        items, num_query = query_and_gallery(cfg, name)
    except (OSError, ValueError, ImportError) as error:
        report.problems.append(str(error))
        return []
    query, gallery = items[:num_query], items[num_query:]
    report.rows += [_row(name, "query", query), _row(name, "gallery", gallery)]
    _check_matches(name, query, gallery, report)
    if training:
        _check_overlap(cfg, name, training, items, report)
    return [path for path, _, _ in items]


def _check_matches(
    name: str, query: list[tuple], gallery: list[tuple], report: PreflightReport
) -> None:
    """A query counts only if the gallery has its person from another camera."""
    cameras: dict[int, set[int]] = {}
    for _, pid, camid in gallery:
        cameras.setdefault(pid, set()).add(camid)
    without = sum(not cameras.get(pid, set()) - {camid} for _, pid, camid in query)
    if without == len(query):
        report.problems.append(
            f"none of the {len(query)} queries of {name} has its person in the gallery from "
            "another camera, so nothing can be evaluated; are query and gallery of one set?"
        )
    elif without:
        report.warnings.append(
            f"{without} of {len(query)} queries of {name} have no image of their person in the "
            "gallery from another camera; the evaluation leaves them out"
        )


def _check_overlap(
    cfg: CfgNode,
    name: str,
    training: TrainingItems,
    items: list[tuple[str, int, int]],
    report: PreflightReport,
) -> None:
    """Persons of the test must be new to the model."""
    dataset_name = DATASET_REGISTRY.get(name).dataset_name
    training_pids = {pid for _, pid, _ in training.items}
    test_pids = {f"{dataset_name}_{pid}" for _, pid, _ in items}
    shared = set() if dataset_name in _RENUMBERED else training_pids & test_pids
    training_paths = {os.path.abspath(path) for path, _, _ in training.items}
    shared_paths = sum(os.path.abspath(path) in training_paths for path, _, _ in items)
    if not shared and not shared_paths:
        return
    found = f"{len(shared)} persons and {shared_paths} images of the test of {name}"
    if cfg.DATASETS.COMBINEALL:
        report.warnings.append(
            f"{found} are trained on, as DATASETS.COMBINEALL asks; its results mean nothing"
        )
    else:
        examples = ", ".join(sorted(shared)[:3])
        report.problems.append(
            f"{found} are also in training (e.g. {examples or 'the same files'}), so its results "
            "would mean nothing; remove them from one side"
        )


def _check_files(paths: list[str], mode: str, report: PreflightReport) -> None:
    broken = unreadable_images(paths, decode=mode == "full")
    report.problems += [
        f"{path} cannot be read: {reason}; restore or remove it"
        for path, reason in broken[:_MOST_NAMED]
    ]
    if len(broken) > _MOST_NAMED:
        report.problems.append(f"and {len(broken) - _MOST_NAMED} more of {len(paths)} images")
