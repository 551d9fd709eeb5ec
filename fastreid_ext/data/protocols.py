"""Which data sets to train on and to test on, as tables.

A *run* is one training with its tests: (sources, targets, overrides), where ``overrides`` are
``KEY VALUE`` strings for :func:`fastreid_ext.config.load_config`. A *protocol* is the runs whose
results belong into one table.

The domains of generalisation papers: MA Market1501, D DukeMTMC, MS MSMT17, C2 CUHK02, C3 CUHK03,
CS cuhkSYSU. DCAC [0] takes C3 in the new protocol with *detected* boxes and trains on training
splits only; of MSMT17 on 32,621 images, while fastreid's class leaves the 2,373 for validation out
of training. META [1] and MetaBIN [2] train on all images of their sources and test on the means of
ten splits of four small sets (:mod:`fastreid_ext.data.datasets.ten_splits`); META is a fork of
fastreid, whose CUHK03 has *labeled* boxes, so C3 is not the same set in both protocols.

[0] https://github.com/RikoLi/DCAC
[1] Xu et al., "Mimic Embedding via Adaptive Aggregation", ECCV 2022
[2] Choi et al., "Meta Batch-Instance Normalization", CVPR 2021
"""

import difflib
import re
from collections.abc import Sequence

Run = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

# Sets whose result is the mean over splits registered as <name>_split0 ... <name>_split9.
TEN_SPLITS = ("VIPeR", "PRID", "GRID", "iLIDS")

_DCAC = ("Market1501", "DukeMTMC", "MSMT17", "CUHK03Detected")
_RENDERED = ("RenderedCampus", "RenderedMall", "RenderedStation", "RenderedStreet")


def single_source(names: Sequence[str]) -> tuple[Run, ...]:
    """Train on each set, test on all others: n trainings, n (n - 1) pairs."""
    _check_several(names)
    return tuple(((name,), tuple(n for n in names if n != name), ()) for name in names)


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


def planned_runs(
    sources: Sequence[str], targets: Sequence[str] = (), protocol: str = ""
) -> tuple[Run, ...]:
    """Return the runs that a user asks for.

    Args:
        sources: training sets; "A+B" = together. With a rule as protocol: the sets it is for.
        targets: test sets; "VIPeR" and the like stand for their ten splits.
        protocol: "" = each source, tested on all targets; a key of :data:`RULES`; or of
            :data:`PROTOCOLS`, which names sources and targets itself ("supervised" is both: a rule
            where there are sources).

    Raises:
        ValueError: an unknown protocol, or sets that it would not use.
    """
    if not protocol:
        tests = tuple(
            split
            for name in targets
            for split in (ten_splits(name) if name in TEN_SPLITS else [name])
        )
        return tuple((tuple(source.split("+")), tests, ()) for source in sources)
    if protocol not in RULES and protocol not in PROTOCOLS:
        known = list(dict.fromkeys([*RULES, *PROTOCOLS]))
        near = difflib.get_close_matches(protocol, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"unknown protocol '{protocol}'; {hint}")
    is_rule = protocol in RULES and (bool(sources) or protocol not in PROTOCOLS)
    runs = RULES[protocol](sources) if is_rule else PROTOCOLS[protocol]
    unused = [*targets, *(() if is_rule else sources)]
    if unused:
        raise ValueError(
            f"protocol '{protocol}' names its sets itself, but got {', '.join(unused)}"
        )
    return runs


def _check_several(names: Sequence[str]) -> None:
    if len(set(names)) < 2 or len(set(names)) != len(names):
        raise ValueError(f"expected two or more different data sets, got {', '.join(names)}")


RULES = {
    "single_source": single_source,
    "leave_one_out": leave_one_out,
    "supervised": supervised,
}

_DG_SOURCES = ("Market1501", "CUHK02", "CUHK03Labeled", "cuhkSYSU")
_DG_TARGETS = tuple(split for name in TEN_SPLITS for split in ten_splits(name))

PROTOCOLS: dict[str, tuple[Run, ...]] = {
    # Twelve pairs from four trainings, and three sources -> the fourth [0].
    "dcac_single_source": single_source(_DCAC),
    "dcac_leave_one_out": leave_one_out(_DCAC),
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
