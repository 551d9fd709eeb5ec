"""SYSU-MM01, RegDB and LLCM in their layouts, with few identities."""

import pytest

from fastreid_ext.data.configured_sets import open_dataset, query_and_gallery, training_items
from fastreid_ext.data.datasets import regdb
from fastreid_ext.data.protocols import PROTOCOLS, group_of


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def sysu(tmp_path):
    folder = tmp_path / "SYSU-MM01"
    for pid in range(1, 7):
        for camera in range(1, 7):
            for number in (1, 2):
                touch(folder / f"cam{camera}" / f"{pid:04d}" / f"{number:04d}.jpg")
    for name, pids in (("train_id", "1,2"), ("val_id", "3"), ("test_id", "6,4,5")):
        touch(folder / "exp" / f"{name}.txt").write_text(f"{pids}\n")
    return tmp_path


def test_sysu_trains_on_both_lists_and_tests_infrared_against_visible(make_cfg, sysu):
    cfg = make_cfg(sysu, DATASETS__NAMES=("SYSUMM01",), DATASETS__TESTS=("SYSUMM01",))
    training = training_items(cfg)
    assert list(training.items.dense_pids()[1]) == ["sysu_1", "sysu_2", "sysu_3"]
    infrared = [("cam3" in path or "cam6" in path) for path in training.items.paths]
    assert training.modalities.tolist() == infrared
    assert sum(infrared) == 12
    items, num_query = query_and_gallery(cfg, "SYSUMM01")
    assert {camid + 1 for _, _, camid in items[:num_query]} == {3, 6}
    assert {camid + 1 for _, _, camid in items[num_query:]} == {1, 2, 4, 5}
    assert {pid for _, pid, _ in items} == {4, 5, 6}
    assert (num_query, len(items)) == (12, 36)
    assert query_and_gallery(cfg, "SYSUMM01Indoor")[1] == 12


def test_sysu_without_its_lists_or_a_modality_says_what_is_missing(make_cfg, sysu):
    cfg = make_cfg(sysu, DATASETS__NAMES=("SYSUMM01",))
    file = sysu / "SYSU-MM01" / "exp" / "test_id.txt"
    file.write_text("4,five\n")
    with pytest.raises(ValueError, match=r"test_id.txt: expected numbers.*got '4,five'"):
        query_and_gallery(cfg, "SYSUMM01")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected the list of identities .*test_id.txt"):
        query_and_gallery(cfg, "SYSUMM01")
    for camera in (3, 6):
        for path in (sysu / "SYSU-MM01" / f"cam{camera}" / "0002").iterdir():
            path.unlink()
    with pytest.raises(ValueError, match=r"got no infrared ones of 1, e.g. 2; unpack"):
        training_items(cfg)


@pytest.fixture
def regdb_root(tmp_path, monkeypatch):
    monkeypatch.setattr(regdb, "IDENTITIES", 3)
    monkeypatch.setattr(regdb, "IMAGES", 6)
    folder = tmp_path / "RegDB"
    for trial in (1, 2):
        halves = {"train": (1, 2, 3), "test": (4, 5, 6)}
        if trial == 2:
            halves = {"train": (4, 5, 6), "test": (1, 2, 3)}
        for split, pids in halves.items():
            for short, place in (("visible", "Visible"), ("thermal", "Thermal")):
                names = [
                    (f"{place}/{pid}/{short[0]}_{i}_{pid}.bmp", k)
                    for k, pid in enumerate(pids)
                    for i in (1, 2)
                ]
                for name, _ in names:
                    touch(folder / name)
                lines = "".join(f"{name} {label}\n" for name, label in names)
                touch(folder / "idx" / f"{split}_{short}_{trial}.txt").write_text(lines)
    return tmp_path


def test_regdb_has_a_training_set_for_each_trial_and_two_directions(make_cfg, regdb_root):
    cfg = make_cfg(regdb_root, DATASETS__NAMES=("RegDB_trial2",))
    training = training_items(cfg)
    assert all(path.split("/")[-2] in "456" for path in training.items.paths)
    assert training.modalities.tolist() == ["Thermal" in path for path in training.items.paths]
    items, num_query = query_and_gallery(cfg, "RegDB_trial2_visible_to_infrared")
    assert all("Visible" in path for path, _, _ in items[:num_query])
    assert all("Thermal" in path for path, _, _ in items[num_query:])
    back, num_back = query_and_gallery(cfg, "RegDB_trial2_infrared_to_visible")
    assert sorted(back[:num_back]) == sorted(items[num_query:])
    # Test identities are others than training ones, although both lists count from 0.
    tested = {f"regdb_trial2_{pid}" for _, pid, _ in items}
    assert not tested & set(training.items.dense_pids()[1])
    with pytest.raises(ValueError, match="RegDB_trial<n>_visible_to_infrared"):
        query_and_gallery(cfg, "RegDB_trial2")


def test_regdb_refuses_missing_partial_and_swapped_split_files(make_cfg, regdb_root):
    cfg = make_cfg(regdb_root, DATASETS__NAMES=("RegDB_trial1",))
    with pytest.raises(FileNotFoundError, match=r"expected the split file .*train_visible_3.txt"):
        open_dataset(cfg, "RegDB_trial3").train  # noqa: B018
    file = regdb_root / "RegDB" / "idx" / "train_visible_1.txt"
    whole = file.read_text()
    file.write_text("".join(whole.splitlines(keepends=True)[:-2]))
    with pytest.raises(ValueError, match=r"expected 6 images of 3 identities, got 4 of 2"):
        training_items(cfg)
    file.write_text(whole.replace("Visible", "Thermal").replace("/v_", "/t_"))
    with pytest.raises(ValueError, match="expected images of the modality visible"):
        training_items(cfg)
    file.write_text(whole.replace("/v_1_1", "/v_9_1"))
    with pytest.raises(FileNotFoundError, match=r"lists 1 of 6 images that do not exist"):
        training_items(cfg)
    file.write_text(whole.replace(" 2\n", " two\n"))
    with pytest.raises(ValueError, match=r"train_visible_1.txt:5: expected '<path> <label>'"):
        training_items(cfg)


def test_regdb_is_ten_models_tested_in_both_directions():
    runs = PROTOCOLS["regdb"]
    assert [sources for sources, _, _ in runs] == [(f"RegDB_trial{n}",) for n in range(1, 11)]
    groups = {group_of(target) for _, targets, _ in runs for target in targets}
    assert groups == {"RegDB_visible_to_infrared", "RegDB_infrared_to_visible"}
    assert group_of("RegDB_trial10") == "RegDB"
    assert all(
        target.startswith(f"{sources[0]}_") for sources, targets, _ in runs for target in targets
    )


@pytest.fixture
def llcm(tmp_path):
    folder = tmp_path / "LLCM"
    for short, cameras in (("vis", (1, 2, 3)), ("nir", (1, 2))):
        lines = []
        for label, pid in enumerate((7, 8)):
            name = f"{short}/{pid:04d}/{pid:04d}_1.jpg"
            touch(folder / name)
            lines.append(f"{name} {label}\n")
        touch(folder / "idx" / f"train_{short}.txt").write_text("".join(lines))
        for pid in (1, 7):
            for camera in cameras:
                touch(folder / f"test_{short}" / f"cam{camera}" / f"{pid:04d}" / "a.jpg")
    touch(folder / "idx" / "test_id.txt").write_text("1,7")
    return tmp_path


def test_llcm_tests_either_direction_and_shares_cameras(make_cfg, llcm):
    cfg = make_cfg(llcm, DATASETS__NAMES=("LLCM",))
    training = training_items(cfg)
    assert training.modalities.tolist() == ["nir/" in path for path in training.items.paths]
    assert list(training.items.dense_pids()[1]) == ["llcm_train0", "llcm_train1"]
    items, num_query = query_and_gallery(cfg, "LLCM_visible_to_infrared")
    assert num_query == 6
    assert {camid + 1 for _, _, camid in items[:num_query]} == {1, 2, 3}
    assert all("test_nir" in path for path, _, _ in items[num_query:])
    swapped, num_swapped = query_and_gallery(cfg, "LLCM_infrared_to_visible")
    assert sorted(swapped[:num_swapped]) == sorted(items[num_query:])
    with pytest.raises(ValueError, match="LLCM_visible_to_infrared"):
        query_and_gallery(cfg, "LLCM")


def test_llcm_refuses_swapped_lists(make_cfg, llcm):
    idx = llcm / "LLCM" / "idx"
    visible = (idx / "train_vis.txt").read_text()
    (idx / "train_vis.txt").write_text((idx / "train_nir.txt").read_text())
    (idx / "train_nir.txt").write_text(visible)
    with pytest.raises(ValueError, match=r"train_vis.txt: expected images of this modality"):
        training_items(make_cfg(llcm, DATASETS__NAMES=("LLCM",)))
