import pytest

from fastreid_ext.data.protocols import (
    PROTOCOLS,
    TEN_SPLITS,
    group_of,
    leave_one_out,
    planned_runs,
    single_source,
    supervised,
    ten_splits,
)


def test_single_source_trains_once_for_all_targets():
    assert single_source(("A", "B", "C")) == (
        (("A",), ("B", "C"), ()),
        (("B",), ("A", "C"), ()),
        (("C",), ("A", "B"), ()),
    )


def test_leave_one_out_and_supervised():
    assert leave_one_out(("A", "B", "C")) == (
        (("B", "C"), ("A",), ()),
        (("A", "C"), ("B",), ()),
        (("A", "B"), ("C",), ()),
    )
    assert supervised(["A", "B"]) == ((("A",), ("A",), ()), (("B",), ("B",), ()))


@pytest.mark.parametrize("make", [single_source, leave_one_out])
@pytest.mark.parametrize("names", [(), ("A",), ("A", "B", "A")])
def test_protocol_needs_two_different_sets(make, names):
    with pytest.raises(ValueError, match=r"expected two or more different data sets, got"):
        make(names)


def test_ten_splits_and_group_of_are_inverse():
    names = ten_splits("VIPeR")
    assert names[0] == "VIPeR_split0"
    assert names[9] == "VIPeR_split9"
    assert len(names) == 10
    assert {group_of(name) for name in names} == {"VIPeR"}
    assert group_of("Market1501") == "Market1501"
    assert group_of("Mine_split3") == "Mine_split3"
    with pytest.raises(ValueError, match=r"ten splits \(VIPeR, PRID, GRID, iLIDS\), got 'CUHK03'"):
        ten_splits("CUHK03")


def test_protocols_of_papers():
    dcac = PROTOCOLS["dcac_single_source"]
    assert sum(len(targets) for _, targets, _ in dcac) == 12
    assert len(PROTOCOLS["dcac_leave_one_out"]) == 4
    without_duke = PROTOCOLS["dcac_single_source_without_duke"]
    assert sum(len(targets) for _, targets, _ in without_duke) == 6
    assert len(PROTOCOLS["dcac_leave_one_out_without_duke"]) == 3
    assert all("CUHK03" not in sources + targets for sources, targets, _ in dcac)  # labeled
    ((sources, targets, overrides),) = PROTOCOLS["dg_ten_splits"]
    assert sources == ("Market1501", "CUHK02", "CUHK03Labeled", "cuhkSYSU")
    assert overrides == ("DATASETS.COMBINEALL", "True")
    assert [group_of(name) for name in targets[::10]] == list(TEN_SPLITS)
    assert len(set(targets)) == 40


def test_planned_runs_of_sources_and_protocols():
    assert planned_runs(["A+B", "C"], ["D", "VIPeR"]) == (
        (("A", "B"), ("D", *ten_splits("VIPeR")), ()),
        (("C",), ("D", *ten_splits("VIPeR")), ()),
    )
    assert planned_runs(["A", "B"], protocol="leave_one_out") == leave_one_out(["A", "B"])
    assert planned_runs([], protocol="dcac_single_source") == PROTOCOLS["dcac_single_source"]


def test_planned_runs_refuse_unused_sets():
    with pytest.raises(ValueError, match=r"unknown name 'dcac' in --protocol; known: dcac_leave"):
        planned_runs(["A"], protocol="dcac")
    with pytest.raises(ValueError, match=r"in --protocol; did you mean 'leave_one_out'\?"):
        planned_runs(["A"], protocol="leave_one_aut")
    with pytest.raises(ValueError, match=r"has its own sets, but got C"):
        planned_runs(["A", "B"], ["C"], "leave_one_out")
    with pytest.raises(ValueError, match=r"has its own sets, but got A"):
        planned_runs(["A"], protocol="dcac_leave_one_out")


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_protocols_name_registered_sets_and_keys(make_cfg, name):
    for sources, targets, overrides in PROTOCOLS[name]:
        keys = {
            key.replace(".", "__"): value for key, value in zip(*[iter(overrides)] * 2, strict=True)
        }
        cfg = make_cfg(DATASETS__NAMES=sources, DATASETS__TESTS=targets, **keys)
        assert cfg.DATASETS.NAMES == sources
        assert cfg.DATASETS.TESTS == targets


def test_supervised_without_sources_is_the_table_of_the_paper():
    names = ("CUHK03Detected", "Market1501", "PersonX", "MSMT17")
    assert planned_runs((), (), "supervised") == tuple(((n,), (n,), ()) for n in names)
    assert planned_runs(("PRID",), (), "supervised") == ((("PRID",), ("PRID",), ()),)
