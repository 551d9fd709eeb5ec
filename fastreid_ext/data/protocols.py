"""Plan the training and test sets of protocols.

A *run* is one training with its tests: (sources, targets, overrides), where ``overrides`` are
``KEY VALUE`` strings for :func:`fastreid_ext.config.load_config`. A *protocol* is a list of runs
whose results belong into one table.

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

import re
from collections.abc import Sequence

from fastreid_ext.names import unknown_name

Run = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

# Sets whose result is the mean over the splits registered as <name>_split0 ... <name>_split9.
TEN_SPLITS = ("VIPeR", "PRID", "GRID", "iLIDS")

# Trials of RegDB, each with its own model, and the directions in which each is tested.
REGDB_TRIALS = tuple(f"RegDB_trial{number}" for number in range(1, 11))
REGDB_DIRECTIONS = ("visible_to_infrared", "infrared_to_visible")

_DCAC = ("Market1501", "DukeMTMC", "MSMT17", "CUHK03Detected")
_DCAC_WITHOUT_DUKE = ("Market1501", "MSMT17", "CUHK03Detected")
_RENDERED = ("RenderedCampus", "RenderedMall", "RenderedStation", "RenderedStreet")


def single_source(names: Sequence[str]) -> tuple[Run, ...]:
    """Plan to train on each set and test on all others: n trainings, n (n - 1) pairs.

    Example:
        >>> single_source(["A", "B"])
        ((('A',), ('B',), ()), (('B',), ('A',), ()))
    """
    _check_several(names)
    return tuple(((name,), tuple(n for n in names if n != name), ()) for name in names)


def leave_one_out(names: Sequence[str]) -> tuple[Run, ...]:
    """Plan to train on all sets but one and test on that one: n trainings.

    Example:
        >>> leave_one_out(["A", "B", "C"])[0]
        (('B', 'C'), ('A',), ())
    """
    _check_several(names)
    return tuple((tuple(n for n in names if n != name), (name,), ()) for name in names)


def supervised(names: Sequence[str]) -> tuple[Run, ...]:
    """Plan to train and test on each set."""
    return tuple(((name,), (name,), ()) for name in names)


def ten_splits(name: str) -> tuple[str, ...]:
    """List the registered names of the ten splits of "VIPeR", "PRID", "GRID" or "iLIDS".

    Raises:
        ValueError: the set does not have ten splits.
    """
    if name not in TEN_SPLITS:
        raise ValueError(
            f"expected a data set with ten splits ({', '.join(TEN_SPLITS)}), got '{name}'"
        )
    return tuple(f"{name}_split{number}" for number in range(10))


def group_of(name: str) -> str:
    """Map a split to its set, "VIPeR_split3" to "VIPeR"; other names stay.

    RegDB keeps the direction: "RegDB_trial3_visible_to_infrared" is of "RegDB_visible_to_infrared".
    """
    if match := re.fullmatch(r"RegDB_trial\d+(.*)", name):
        return f"RegDB{match[1]}"
    match = re.fullmatch(r"(.+)_split\d", name)
    return match[1] if match and match[1] in TEN_SPLITS else name


def planned_runs(
    sources: Sequence[str], targets: Sequence[str] = (), protocol: str = ""
) -> tuple[Run, ...]:
    """Plan the runs that a user asks for.

    Args:
        sources: training sets; "A+B" trains on both together. A rule applies to these sets.
        targets: test sets; a name of :data:`TEN_SPLITS` stands for its ten splits.
        protocol: name of the protocol; "" trains on each source and tests on all targets. A key of
            :data:`RULES` applies to ``sources``. A key of :data:`PROTOCOLS` has its own sets.
            "supervised" is both: a rule if there are sources.

    Raises:
        ValueError: the protocol is unknown, or it does not use the given sets.

    Example:
        >>> planned_runs(["A+B"], ["C"])
        ((('A', 'B'), ('C',), ()),)
    """
    if not protocol:
        tests = tuple(
            split
            for name in targets
            for split in (ten_splits(name) if name in TEN_SPLITS else [name])
        )
        return tuple((tuple(source.split("+")), tests, ()) for source in sources)
    if protocol not in RULES and protocol not in PROTOCOLS:
        raise ValueError(unknown_name("--protocol", protocol, [*RULES, *PROTOCOLS]))
    is_rule = protocol in RULES and (bool(sources) or protocol not in PROTOCOLS)
    runs = RULES[protocol](sources) if is_rule else PROTOCOLS[protocol]
    unused = [*targets, *(() if is_rule else sources)]
    if unused:
        raise ValueError(
            f"protocol '{protocol}' has its own sets, but got {', '.join(unused)}; leave them out"
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
_DG_SPLITS = ("Market1501", "MSMT17", "CUHK03Labeled")
_DG_TARGETS = tuple(split for name in TEN_SPLITS for split in ten_splits(name))


def _with_sysu(overrides: tuple[str, ...] = ()) -> tuple[Run, ...]:
    """Plan to train on CUHK-SYSU and two of three sets, and test on the third."""
    return tuple(
        ((*sources, "cuhkSYSU"), tests, overrides)
        for sources, tests, _ in leave_one_out(_DG_SPLITS)
    )


PROTOCOLS: dict[str, tuple[Run, ...]] = {
    # Twelve pairs from four trainings; and three sources, tested on the fourth [0].
    "dcac_single_source": single_source(_DCAC),
    "dcac_leave_one_out": leave_one_out(_DCAC),
    # The same without DukeMTMC, which its authors have withdrawn.
    "dcac_single_source_without_duke": single_source(_DCAC_WITHOUT_DUKE),
    "dcac_leave_one_out_without_duke": leave_one_out(_DCAC_WITHOUT_DUKE),
    # All images of the sources, tested on the ten splits of each of four targets. META [1] trains
    # on four sets, MetaBIN [2] on DukeMTMC too.
    "dg_ten_splits": ((_DG_SOURCES, _DG_TARGETS, ("DATASETS.COMBINEALL", "True")),),
    "dg_ten_splits_with_duke": (
        ((*_DG_SOURCES, "DukeMTMC"), _DG_TARGETS, ("DATASETS.COMBINEALL", "True")),
    ),
    # MetaBIN's own: CUHK03 with detected boxes.
    "metabin_ten_splits": (
        (
            ("Market1501", "DukeMTMC", "CUHK02", "CUHK03Detected", "cuhkSYSU"),
            _DG_TARGETS,
            ("DATASETS.COMBINEALL", "True"),
        ),
    ),
    # Protocols 2 and 3 of META: training splits of the sources, and all their images.
    "dg_protocol_2": _with_sysu(),
    "dg_protocol_3": _with_sysu(("DATASETS.COMBINEALL", "True")),
    # Paper on pre-training with generated images: each baseline on each set.
    "supervised": supervised(("CUHK03Detected", "Market1501", "PersonX", "MSMT17")),
    # Ten models, each tested on its own trial in both directions.
    "regdb": tuple(
        ((name,), tuple(f"{name}_{direction}" for direction in REGDB_DIRECTIONS), ())
        for name in REGDB_TRIALS
    ),
    "rendered_single_source": single_source(_RENDERED),
    "rendered_leave_one_out": leave_one_out(_RENDERED),
}
