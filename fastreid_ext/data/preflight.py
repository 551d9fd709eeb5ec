"""Check before a run that its data exists, is readable and fills the batches."""

import hashlib
import itertools
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.utils import comm
from numpy.typing import NDArray
from tabulate import tabulate

from fastreid_ext.data.configured_sets import TrainingItems, query_and_gallery, training_items
from fastreid_ext.data.datasets.market_folder import MarketFolder
from fastreid_ext.data.domains import target_of
from fastreid_ext.data.image_check import unreadable_images
from fastreid_ext.data.item_arrays import ItemArrays, TextArray
from fastreid_ext.data.left_out import IN_SUBFOLDERS, UNUSED, in_words, left_out
from fastreid_ext.data.modality_check import modality_warnings
from fastreid_ext.data.own_sets import GENERATED, unlabelled_names
from fastreid_ext.data.positives import read_positives
from fastreid_ext.data.published_counts import count_warnings
from fastreid_ext.data.sampling_problems import mixed_batches, sampling_problems

HEADERS = (
    "data set",
    "split",
    "images",
    "identities",
    "images per identity",
    "one image",
    "cameras",
)

# Sets whose training identities are renumbered, so equal numbers are not equal identities.
_RENUMBERED = ("cuhk03",)
# Classes of fastreid that read all .jpg files of their folders, and no other files.
_READ_WHOLE_FOLDERS = ("Market1501", "DukeMTMC")
# Number of files that the report names; the others are counted.
_MOST_NAMED = 50
# From here on decoding every image takes an hour on 16 cores.
_MANY_IMAGES = 1_000_000

logger = logging.getLogger(__name__)


@dataclass
class PreflightReport:
    """Findings of a preflight.

    Attributes:
        rows: cells of the table with the columns ``HEADERS``.
        left_out: text for each data set that counts its unused files by reason.
        problems: findings that stop a run, each with a remedy.
        warnings: findings that do not stop a run.
    """

    rows: list[tuple] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Tell whether a run may start."""
        return not self.problems

    def __str__(self) -> str:
        """Write table and files left out, then warnings, then problems."""
        table = tabulate(self.rows, headers=HEADERS, tablefmt="pipe", numalign="left")
        lines = [table] if self.rows else []
        lines += [f"left out: {text}" for text in self.left_out]
        lines += [f"warning: {text}" for text in self.warnings]
        lines += [f"problem: {text}" for text in self.problems]
        return "\n".join(lines)

    def raise_if_not_ok(self) -> None:
        """Raise ValueError with all problems, if there are any."""
        if self.problems:
            raise ValueError("the data cannot be used:\n  - " + "\n  - ".join(self.problems))


def preflight(cfg: CfgNode, *, world_size: int | None = None) -> PreflightReport:
    """Check training and test data of a configuration; findings are reported, not raised.

    Example::

        report = preflight(load_config("configs/demo.yml"))
        print(report)
        report.problems  # [] for data that can be trained on

    Args:
        cfg: checked configuration. ``DATASETS.PREFLIGHT`` "full" decodes all images, "headers" only
            opens them (and decodes some images of a set of two modalities), "off" does neither. If
            ``DATASETS.NAMES`` is empty, only test sets are checked.
        world_size: number of training processes; None = the current number.
    """
    report = PreflightReport()
    world_size = world_size or comm.get_world_size()
    training = _check_training(cfg, world_size, report) if cfg.DATASETS.NAMES else None
    own = training.by_set() if training else {}
    paths = {name: [items.paths] for name, items in own.items()}  # of each data set
    positives = _check_positives(cfg, training, report)
    for name in dict.fromkeys(cfg.DATASETS.TESTS):
        items = _check_test(cfg, name, training, report)
        paths.setdefault(name, []).append(items.paths)
    for name, parts in paths.items():
        _check_left_out(cfg, name, parts, report)
    if cfg.DATASETS.PREFLIGHT != "off":
        parts = [*itertools.chain(*paths.values()), positives]
        _check_files(parts, cfg.DATASETS.PREFLIGHT, report)
        for name, own in paths.items():
            report.warnings += modality_warnings(
                name, [*itertools.chain(*own)], is_full=cfg.DATASETS.PREFLIGHT == "full"
            )
    report.problems = list(dict.fromkeys(report.problems))  # a set missing for training and test
    return report


def _check_training(cfg: CfgNode, world_size: int, report: PreflightReport) -> TrainingItems | None:
    try:
        training = training_items(cfg)
    except (OSError, ValueError, ImportError) as error:
        report.problems.append(str(error))
        return None
    for name, own in training.by_set().items():
        report.rows.append(_row(name, "train", own))
    report.problems += sampling_problems(cfg, training, world_size)
    report.warnings += count_warnings(cfg, training)
    if cfg.UNSUPERVISED.ENABLED:
        _check_cameras(cfg, training, report)
    else:
        _check_singles(cfg, training, report)
    _check_share(cfg, training, report)
    _check_generated_only(cfg, training, report)
    _check_duplicates(training, report)
    return training


def _check_positives(
    cfg: CfgNode, training: TrainingItems | None, report: PreflightReport
) -> list[str]:
    """Check the pose-changed images of a recipe that needs some and return their paths."""
    if training is None or cfg.INPUT.VIEWS.RECIPE != "pose":
        return []
    try:
        positives = read_positives(cfg, training)
    except (OSError, ValueError) as error:
        report.problems.append(str(error))
        return []
    without = int((~positives.have_some).sum())
    if without:
        report.warnings.append(
            f"{without} of {len(training.items)} training images have no pose-changed image and "
            "are left out; generate them, or set DATASETS.POSITIVES.PAIRED_BY to identity"
        )
    return sorted(set(positives.paths))


def _row(name: str, split: str, items: ItemArrays) -> tuple:
    counts = _images_of_each(items)
    spread = f"{counts.min()} / {np.median(counts):g} / {counts.max()}"
    cameras = len(items.dense_camids()[1])
    return name, split, len(items), len(counts), spread, int((counts == 1).sum()), cameras


def _images_of_each(items: ItemArrays) -> NDArray[np.int64]:
    """Count the images of each identity."""
    return np.bincount(items.dense_pids()[0])


def _check_singles(cfg: CfgNode, training: TrainingItems, report: PreflightReport) -> None:
    counts = _images_of_each(training.items)
    instances = cfg.DATALOADER.NUM_INSTANCE
    single = int((counts == 1).sum())
    if single and "Identity" in cfg.DATALOADER.SAMPLER_TRAIN:
        report.warnings.append(
            f"{single} of {len(counts)} identities have one training image: their "
            f"DATALOADER.NUM_INSTANCE {instances} images in a batch are copies of it, so a triplet "
            "loss has no true positive there; leave these identities out or add images"
        )


def _check_cameras(cfg: CfgNode, training: TrainingItems, report: PreflightReport) -> None:
    names = target_of(training).dense_camids()[1]
    kind = "target" if training.source_images else "training"
    if len(names) == 1:
        report.warnings.append(
            f"all {kind} images are of one camera ({names[0]}), or their cameras are not known, "
            "so no batch can be made of a cluster's different cameras; clusters that hold across "
            "cameras need the cameras of the images (docs/datasets.md)"
        )
    elif without := unlabelled_names(cfg):
        report.warnings.append(
            f"the cameras of {', '.join(without)} in DATASETS.NAMES are not known, so all its "
            "images count as those of one camera beside the others; give them cameras "
            "(docs/datasets.md), or leave these sets out"
        )


def _check_share(cfg: CfgNode, training: TrainingItems, report: PreflightReport) -> None:
    if not cfg.DATASETS.GENERATED.BATCH_SHARE:
        return
    mixed = mixed_batches(cfg, training, world_size=1)
    if not mixed.within_identities:
        return
    if one_kind := mixed.identities_of_one_kind():
        report.warnings.append(
            f"{one_kind} of {len(training.items.dense_pids()[1])} identities have real images "
            "only or generated ones only and give just those, so batches with them do not have the "
            f"DATASETS.GENERATED.BATCH_SHARE of {cfg.DATASETS.GENERATED.BATCH_SHARE:g}"
        )


def _check_generated_only(cfg: CfgNode, training: TrainingItems, report: PreflightReport) -> None:
    """Warn if generated images bring back identities that DATASETS.SUBSET leaves out."""
    if not cfg.DATASETS.SUBSET or cfg.DATASETS.GENERATED.PERSON_IDS != "kept":
        return
    pids = training.items.dense_pids()[0]
    is_generated = training.is_generated
    only = np.setdiff1d(pids[is_generated], pids[~is_generated])
    if len(only):
        report.warnings.append(
            f"{len(only)} identities are trained on from generated images only: DATASETS.SUBSET "
            f"{cfg.DATASETS.SUBSET} leaves their real images out, not the generated ones; generate "
            "from the identities of the list to see what the subset alone gives"
        )


def _check_duplicates(training: TrainingItems, report: PreflightReport) -> None:
    pids_of: dict[str, set[str]] = {}
    repeats: Counter[str] = Counter()
    for place in _repeated(training.items.paths):
        path, pid, _ = training.items[place]
        pids_of.setdefault(os.path.abspath(path), set()).add(pid)
        repeats[os.path.abspath(path)] += 1
    shared = [path for path, pids in pids_of.items() if len(pids) > 1]
    if shared:
        pids = ", ".join(sorted(pids_of[shared[0]]))
        report.problems.append(
            f"{len(shared)} images are listed under several identities (e.g. {shared[0]} as "
            f"{pids}); is a generated set listed twice in DATASETS.GENERATED.ROOTS? Keep one"
        )
    repeated = repeats.total() - len(repeats)
    if repeated:
        report.warnings.append(
            f"{repeated} training images are listed more than once; is a data set named twice in "
            "DATASETS.NAMES or DATASETS.GENERATED.ROOTS?"
        )


def _repeated(paths: Sequence[str]) -> list[int]:
    """Find the positions of all paths that occur more than once, with 8 bytes per path."""
    hashes = np.fromiter(
        (_hash_of(os.path.abspath(path)) for path in paths), np.uint64, count=len(paths)
    )
    order = np.argsort(hashes, kind="stable")
    is_same = hashes[order][1:] == hashes[order][:-1]
    repeated = np.concatenate([is_same, [False]]) | np.concatenate([[False], is_same])
    return sorted(order[repeated].tolist()) if len(paths) else []


def _hash_of(path: str) -> int:
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _check_test(
    cfg: CfgNode, name: str, training: TrainingItems | None, report: PreflightReport
) -> ItemArrays:
    """Check one test set and return its images."""
    try:
        items, num_query = query_and_gallery(cfg, name)
    except (OSError, ValueError, ImportError) as error:
        report.problems.append(str(error))
        return ItemArrays.of([])
    query = items[:num_query]
    gallery = items[num_query:]
    report.rows += [_row(name, "query", query), _row(name, "gallery", gallery)]
    _check_matches(name, query, gallery, report)
    if training:
        _check_overlap(cfg, name, training, items, report)
    return items


def _check_matches(
    name: str, query: ItemArrays, gallery: ItemArrays, report: PreflightReport
) -> None:
    """Report queries whose identity no other camera of the gallery shows."""
    cameras: dict[int, set[int]] = {}
    for pid, camid in zip(gallery.pids.tolist(), gallery.camids.tolist(), strict=True):
        cameras.setdefault(pid, set()).add(camid)
    without = sum(
        not cameras.get(pid, set()) - {camid}
        for pid, camid in zip(query.pids.tolist(), query.camids.tolist(), strict=True)
    )
    if without == len(query):
        report.problems.append(
            f"none of the {len(query)} queries of {name} has its identity in the gallery from "
            "another camera, so nothing can be evaluated; do query and gallery belong to one set?"
        )
    elif without:
        report.warnings.append(
            f"{without} of {len(query)} queries of {name} have no image of their identity in the "
            "gallery from another camera; the evaluation leaves them out"
        )


def _check_overlap(
    cfg: CfgNode,
    name: str,
    training: TrainingItems,
    items: ItemArrays,
    report: PreflightReport,
) -> None:
    """Report test identities and test images that are also in training."""
    dataset_name = DATASET_REGISTRY.get(name).dataset_name
    test_pids = set(map(str, np.unique(items.pids).tolist()))
    starts = [f"{dataset_name}_", f"{dataset_name}_test_"]  # the second: DATASETS.COMBINEALL
    if dataset_name in _RENUMBERED:
        del starts[0]
    shared = [
        pid
        for pid in training.items.dense_pids()[1]
        if any(pid.startswith(start) and pid[len(start) :] in test_pids for start in starts)
    ]
    test_paths = set(map(os.path.abspath, items.paths))
    shared_paths = len(test_paths.intersection(map(os.path.abspath, training.items.paths)))
    if not shared and not shared_paths:
        return
    found = f"{len(shared)} identities and {shared_paths} images of the test of {name}"
    if cfg.DATASETS.COMBINEALL:
        report.warnings.append(
            f"{found} are trained on, as DATASETS.COMBINEALL asks; its results mean nothing"
        )
    else:
        examples = ", ".join(sorted(shared)[:3])
        report.problems.append(
            f"{found} are also in training (e.g. {examples or 'the same files'}), so its results "
            "would mean nothing; remove them from one side, or use different numbers in training "
            "and test if the identities differ"
        )


def _check_left_out(
    cfg: CfgNode, name: str, parts: Sequence[TextArray], report: PreflightReport
) -> None:
    """Report unused files; sets that DATASETS.SUBSET cuts leave images out on purpose."""
    if name == GENERATED or (cfg.DATASETS.SUBSET and name in cfg.DATASETS.NAMES):
        return
    counts = left_out(itertools.chain(*parts))
    if not counts:
        return
    report.left_out.append(f"{name}: {in_words(counts)}")
    is_whole = name in _READ_WHOLE_FOLDERS or issubclass(DATASET_REGISTRY.get(name), MarketFolder)
    used = sum(map(len, parts))
    unused = counts[UNUSED] + counts[IN_SUBFOLDERS]
    if is_whole and unused:
        advice = (
            "fastreid's class reads .jpg files only; convert them, or use PersonFolder"
            if name in _READ_WHOLE_FOLDERS and counts[UNUSED]
            else "move them up into the folder of their split"
        )
        report.warnings.append(
            f"{unused} images in the folders of {name} are not used, {used} are; {advice}"
        )


def _check_files(parts: Sequence[Sequence[str]], mode: str, report: PreflightReport) -> None:
    total = sum(map(len, parts))
    if mode == "full" and total > _MANY_IMAGES:
        logger.info("Decoding %d images (DATASETS.PREFLIGHT full); headers only opens them", total)
    found = (unreadable_images(paths, decode=mode == "full") for paths in parts)
    broken = dict(itertools.chain(*found))
    report.problems += [
        f"{path} cannot be read: {reason}; restore or remove it"
        for path, reason in itertools.islice(broken.items(), _MOST_NAMED)
    ]
    if len(broken) > _MOST_NAMED:
        report.problems.append(f"and {len(broken) - _MOST_NAMED} more of {total} images")
