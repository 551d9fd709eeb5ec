"""Which data sets to train on and to test on, as tables.

A *run* is one training with its tests: (sources, targets, overrides), where ``overrides`` are
``KEY VALUE`` strings for :func:`fastreid_ext.config.load_config`. A *protocol* is the runs whose
results belong into one table.

The domains of generalisation papers: MA Market1501, D DukeMTMC, MS MSMT17, C2 CUHK02, C3 CUHK03,
CS cuhkSYSU. DCAC [0] takes C3 in the new protocol with *detected* boxes and trains on training
splits only. META [1] and MetaBIN [2] train on all images of their sources and test on the means of
ten splits of four small sets (:mod:`fastreid_ext.data.datasets.ten_splits`); META is a fork of
fastreid, whose CUHK03 has *labeled* boxes, so C3 is not the same set in both protocols.

[0] https://github.com/RikoLi/DCAC
[1] Xu et al., "Mimic Embedding via Adaptive Aggregation", ECCV 2022
[2] Choi et al., "Meta Batch-Instance Normalization", CVPR 2021
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Run = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

# Sets whose result is the mean over splits registered as <name>_split0 ... <name>_split9.
TEN_SPLITS = ("VIPeR", "PRID", "GRID", "iLIDS")

_DCAC = ("Market1501", "DukeMTMC", "MSMT17", "CUHK03Detected")
_RENDERED = ("RenderedCampus", "RenderedMall", "RenderedStation", "RenderedStreet")


@dataclass(frozen=True)
class Protocol:
    """Runs that fill one table.

    Attributes:
        name: key in :data:`PROTOCOLS`.
        runs: one training each.
    """

    name: str
    runs: tuple[Run, ...]


def single_source(names: Sequence[str]) -> tuple[Run, ...]:
    """Train on each set, test on all others: n trainings, n (n - 1) pairs."""
    _check_several(names)
    return tuple(((name,), tuple(n for n in names if n != name), ()) for name in names)


def single_source_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the (source, target) pairs of :func:`single_source`, in its order."""
    return tuple((sources[0], t) for sources, targets, _ in single_source(names) for t in targets)


def leave_one_out(names: Sequence[str]) -> tuple[Run, ...]:
    """Train on all sets but one, test on that one: n trainings."""
    _check_several(names)
    return tuple((tuple(n for n in names if n != name), (name,), ()) for name in names)


def supervised(names: Sequence[str]) -> tuple[Run, ...]:
    """Train and test on each set."""
    return tuple(((name,), (name,), ()) for name in names)


def ten_splits(name: str) -> tuple[str, ...]:
    """Return the registered names of the ten test splits of "VIPeR", "PRID", "GRID" or "iLIDS".

    Raises:
        ValueError: the set has no ten splits.
    """
    if name not in TEN_SPLITS:
        raise ValueError(
            f"expected a data set with ten splits ({', '.join(TEN_SPLITS)}), got '{name}'"
        )
    return tuple(f"{name}_split{number}" for number in range(10))


def group_of(name: str) -> str:
    """Return the set that a test set is a split of: "VIPeR" for "VIPeR_split3"; else itself."""
    match = re.fullmatch(r"(.+)_split\d", name)
    return match[1] if match and match[1] in TEN_SPLITS else name


def named_protocol(name: str) -> Protocol:
    """Return a protocol of :data:`PROTOCOLS`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol '{name}'; known: {', '.join(sorted(PROTOCOLS))}")
    return Protocol(name, PROTOCOLS[name])


def _check_several(names: Sequence[str]) -> None:
    if len(set(names)) < 2 or len(set(names)) != len(names):
        raise ValueError(f"expected two or more different data sets, got {', '.join(names)}")


_DG_SOURCES = ("Market1501", "CUHK02", "CUHK03Labeled", "cuhkSYSU")
_DG_TARGETS = tuple(split for name in TEN_SPLITS for split in ten_splits(name))

PROTOCOLS: dict[str, tuple[Run, ...]] = {
    # Twelve pairs from four trainings, and three sources -> the fourth [0].
    "dcac_single_source": single_source(_DCAC),
    "dcac_leave_one_out": leave_one_out(_DCAC),
    # All images of four sources -> mean of ten splits of each of four targets [1] [2]. The lower
    # All images of the sources -> mean of ten splits of each of four targets. META [1] trains on
    # four sets, MetaBIN [2] on DukeMTMC too.
    "dg_ten_splits": ((_DG_SOURCES, _DG_TARGETS, ("DATASETS.COMBINEALL", "True")),),
    "dg_ten_splits_with_duke": (
        ((*_DG_SOURCES, "DukeMTMC"), _DG_TARGETS, ("DATASETS.COMBINEALL", "True")),
    ),
    # The paper on pre-training with generated persons: each baseline on each set.
    "supervised": supervised(("CUHK03Detected", "Market1501", "PersonX", "MSMT17")),
    "rendered_single_source": single_source(_RENDERED),
    "rendered_leave_one_out": leave_one_out(_RENDERED),
}
