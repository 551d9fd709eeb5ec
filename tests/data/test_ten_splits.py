import json
import shutil

import numpy as np
import pytest
import scipy.io
import torch

from fastreid_ext.data.configured_sets import open_dataset, query_and_gallery, training_items
from fastreid_ext.data.datasets.small_sets import READERS
from fastreid_ext.data.datasets.ten_splits import split_of
from fastreid_ext.data.preflight import preflight
from fastreid_ext.data.protocols import TEN_SPLITS, ten_splits
from fastreid_ext.evaluation.ranking import rank_metrics

# test identities, queries, gallery
SIZES = {
    "VIPeR": (316, 316, 316),
    "PRID": (100, 100, 649),
    "GRID": (125, 125, 900),
    "iLIDS": (60, 60, 60),
}


def touch(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def write_viper(root):
    identities = [3 * i // 2 for i in range(632)]  # 0 to 946, with gaps as in the original
    touch(root / "VIPeR" / "cam_a", [f"{p:03d}_{45 * (p % 3)}.bmp" for p in identities])
    touch(root / "VIPeR" / "cam_b", [f"{p:03d}_{90 + 45 * (p % 3)}.bmp" for p in identities])


def write_prid(root):
    for camera, count in (("a", 385), ("b", 749)):
        folder = root / "prid_2011" / "single_shot" / f"cam_{camera}"
        touch(folder, [f"person_{p:04d}.png" for p in range(1, count + 1)])


def write_grid(root):
    folder = root / "underground_reid"
    pairs = range(1, 251)
    touch(folder / "probe", [f"{p:04d}_{1 + p % 4}_25{p:03d}_106_28_107_263.jpeg" for p in pairs])
    others = [f"0000_{1 + i % 8}_31{i:03d}_1_2_3_4.jpeg" for i in range(775)]
    matches = [f"{p:04d}_{5 + p % 4}_26{p:03d}_114_28_106_247.jpeg" for p in pairs]
    touch(folder / "gallery", [*matches, *others])


def write_ilids(root):
    # 476 = 119 * 4; the number of images of an identity varies in the original.
    counts = [2, 6, 4] * 39 + [4, 4]
    names = [f"{p + 1:04d}{i + 1:03d}.jpg" for p, count in enumerate(counts) for i in range(count)]
    touch(root / "QMUL-iLIDS" / "images", names)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Write empty files with the real names and in the real numbers."""
    root = tmp_path_factory.mktemp("small_sets")
    for write in (write_viper, write_prid, write_grid, write_ilids):
        write(root)
    return root


@pytest.fixture
def copy(root, tmp_path):
    """Return a function that copies the folder of a set; it returns the copy and its root."""

    def copy(folder):
        shutil.copytree(root / folder, tmp_path / folder)
        return tmp_path / folder, tmp_path

    return copy


def sides(root, name):
    """List the identities of the queries and of the gallery."""
    return split_of(READERS[name.partition("_")[0]](root), *parts(name))[1:]


def parts(name):
    group, _, number = name.partition("_split")
    return group, int(number)


@pytest.mark.parametrize("name", [name for group in TEN_SPLITS for name in ten_splits(group)])
def test_split_has_the_published_size_and_one_match_for_each_query(make_cfg, root, name):
    cfg = make_cfg(root, DATASETS__NAMES=(name,), DATASETS__TESTS=(name,))
    items, num_query = query_and_gallery(cfg, name)
    query = items[:num_query]
    gallery = items[num_query:]
    identities, queries, in_gallery = SIZES[parts(name)[0]]
    assert (len({pid for _, pid, _ in query}), len(query), len(gallery)) == (
        identities, queries, in_gallery
    )  # fmt: skip
    for _, pid, camid in query:
        matches = [camera for _, other, camera in gallery if other == pid]
        assert len(matches) == 1
        assert matches[0] != camid  # otherwise the evaluation would leave it out
    assert not {path for path, _, _ in query} & {path for path, _, _ in gallery}


@pytest.mark.parametrize("group", TEN_SPLITS)
def test_splits_differ_and_identities_take_turns(root, group):
    tested = [frozenset(pid for _, pid, _ in sides(root, name)[0]) for name in ten_splits(group)]
    assert len(set(tested)) == 10
    everyone = set().union(*tested)
    # An identity is not in any of ten halves with probability 1/1024.
    assert len(everyone) >= 0.97 * 2 * (SIZES[group][0] - (group == "iLIDS"))
    counts = [sum(pid in split for split in tested) for pid in everyone]
    assert 4.5 < np.mean(counts) < 5.5


def test_split_training_half_has_no_tested_identity(make_cfg, root):
    for name in ("VIPeR_split0", "PRID_split3", "GRID_split9", "iLIDS_split5"):
        dataset = open_dataset(make_cfg(root), name)
        group = parts(name)[0]
        training = {pid for _, pid, _ in dataset.train}
        tested = {f"{group.lower()}_{pid}" for _, pid, _ in dataset.query}
        assert not training & tested
        assert len(training) == {"VIPeR": 316, "PRID": 100, "GRID": 125, "iLIDS": 59}[group]


def test_split_of_training_must_be_the_tested_one(make_cfg, root):
    keys = {"DATASETS__NAMES": ("VIPeR_split0",), "DATASETS__PREFLIGHT": "off"}
    assert preflight(make_cfg(root, DATASETS__TESTS=("VIPeR_split0",), **keys)).ok
    report = preflight(make_cfg(root, DATASETS__TESTS=("VIPeR_split1",), **keys))
    assert "of the test of VIPeR_split1 are also in training" in report.problems[0]


def test_split_reads_identities_and_cameras_from_names(root):
    query, gallery = sides(root, "GRID_split0")
    for path, pid, camera in query + gallery:
        fields = path.rpartition("/")[2].split("_")
        assert (pid, camera) == (int(fields[0]), int(fields[1]) - 1)
    assert sum(pid == 0 for _, pid, _ in gallery) == 775
    query, gallery = sides(root, "PRID_split0")
    assert all("/cam_a/" in path and camera == 0 for path, _, camera in query)
    assert all("/cam_b/" in path and camera == 1 for path, _, camera in gallery)
    assert {pid for _, pid, _ in gallery} >= set(range(201, 750))
    query, gallery = sides(root, "iLIDS_split0")
    assert all(int(path[-7:-4]) == camera + 1 for path, _, camera in query + gallery)


def test_split_choice_is_fixed(root):
    """Expect the same choice on every machine; another one would be another protocol."""
    # for i in $(seq 200); do echo "$(printf "PRID\nsplit\n0\n$i" | sha256sum) $i"; done | sort
    smallest = {
        name: sorted(pid for _, pid, _ in sides(root, f"{name}_split0")[0])[:5]
        for name in TEN_SPLITS
    }
    assert smallest == {
        "VIPeR": [1, 3, 4, 9, 15],
        "PRID": [4, 5, 7, 10, 11],
        "GRID": [3, 4, 7, 8, 11],
        "iLIDS": [1, 3, 6, 7, 8],
    }


def test_split_chance_level_of_a_single_shot_test(root):
    """With random features the true match is at rank 1 in one of 649 cases."""
    query, gallery = sides(root, "PRID_split0")
    rng = np.random.default_rng(0)
    found = rank_metrics(
        torch.from_numpy(rng.standard_normal((100, 8)).astype(np.float32)),
        torch.from_numpy(rng.standard_normal((649, 8)).astype(np.float32)),
        *(np.array([pid for _, pid, _ in side]) for side in (query, gallery)),
        *(np.array([camera for _, _, camera in side]) for side in (query, gallery)),
    )
    assert found.cmc[0] < 0.05


def test_split_uses_official_partitions_of_grid(copy):
    folder, root = copy("underground_reid")
    rng = np.random.default_rng(0)
    chosen = [np.sort(rng.permutation(np.arange(1, 251))[:125]) for _ in range(10)]
    fields = [("numTrain", object), ("numTest", object), ("trainIdx", object)]
    cells = np.empty((1, 10), dtype=object)
    for number, identities in enumerate(chosen):
        structure = np.zeros((1, 1), dtype=fields)
        structure[0, 0] = (125, 125, identities[None])
        cells[0, number] = structure
    file = folder / "features_and_partitions.mat"
    scipy.io.savemat(file, {"trainIdxAll": cells})
    for number in (0, 9):
        query, gallery = sides(root, f"GRID_split{number}")
        assert {pid for _, pid, _ in query} == set(range(1, 251)) - set(chosen[number].tolist())
        assert len(gallery) == 900
    file.write_bytes(b"MATLAB 5.0 MAT-file, cut")
    with pytest.raises(
        ValueError, match=r"features_and_partitions.mat: expected GRID's partitions"
    ):
        sides(root, "GRID_split0")
    structure[0, 0] = (125, 125, np.arange(7)[None])
    scipy.io.savemat(file, {"trainIdxAll": cells})
    with pytest.raises(
        ValueError, match=r"expected 125 of the identities 1 to 250 .* got 7; unpack"
    ):
        sides(root, "GRID_split9")


def test_split_uses_one_direction_of_the_viper_file(copy):
    folder, root = copy("VIPeR")
    a = sorted(path.name for path in (folder / "cam_a").iterdir())
    b = sorted(path.name for path in (folder / "cam_b").iterdir())
    splits = []
    for number in range(10):
        test = np.random.default_rng(number).permutation(632)[:316]
        one = [[f"/elsewhere/viper/VIPeR/cam_a/{a[i]}", k, 0] for k, i in enumerate(test)]
        other = [[f"/elsewhere/viper/VIPeR/cam_b/{b[i]}", k, 1] for k, i in enumerate(test)]
        splits += [{"query": one, "gallery": other}, {"query": other, "gallery": one}]
    (folder / "splits.json").write_text(json.dumps(splits))
    query, gallery = sides(root, "VIPeR_split7")
    assert {path.rpartition("/")[2] for path, _, _ in query} == {
        item[0].rpartition("/")[2] for item in splits[14]["query"]
    }
    assert {pid for _, pid, _ in query} == {pid for _, pid, _ in gallery}
    assert len(gallery) == 316


def test_split_uses_files_of_prid_and_ilids(copy, root):
    folder, prid = copy("prid_2011")
    splits = [{"train": list(range(101, 201)), "test": list(range(1, 101))}] * 10
    (folder / "splits_single_shot.json").write_text(json.dumps(splits))
    query, gallery = sides(prid, "PRID_split4")
    assert {pid for _, pid, _ in query} == set(range(1, 101))
    assert len(gallery) == 649
    folder, ilids = copy("QMUL-iLIDS")
    splits = [{"train": [], "query": ["0001001.jpg"], "gallery": ["0001002.jpg"]}] * 10
    (folder / "splits.json").write_text(json.dumps(splits))
    query, gallery = sides(ilids, "iLIDS_split0")
    assert [(path[-11:], pid, camera) for path, pid, camera in query + gallery] == [
        ("0001001.jpg", 1, 0), ("0001002.jpg", 1, 1)
    ]  # fmt: skip
    (folder / "splits.json").write_text(json.dumps([{**splits[0], "query": ["x.jpg"]}] * 10))
    with pytest.raises(ValueError, match=r"lists 1 queries, of which 0 exist; move it away"):
        sides(ilids, "iLIDS_split0")
    for text in ("[]", "{", '[{"train": []}]', "[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]"):
        (folder / "splits.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"splits.json: expected ten splits with query and gall"
        ):
            sides(ilids, "iLIDS_split0")


@pytest.mark.parametrize(
    ("folder", "name", "text"),
    [
        (
            "VIPeR/cam_b",
            "VIPeR_split0",
            r"VIPeR is not complete: expected 632 identities in cam_b, got 6",
        ),
        (
            "prid_2011/single_shot/cam_a",
            "PRID_split0",
            r"expected 385 images in cam_a, got 384; unp",
        ),
        ("underground_reid/gallery", "GRID_split0", r"expected 775 others in gallery, got 774"),
        ("QMUL-iLIDS/images", "iLIDS_split0", r"expected 476 images, got 475"),
    ],
)
def test_small_set_incomplete_is_refused(copy, make_cfg, folder, name, text):
    top = folder.partition("/")[0]
    copied, root = copy(top)
    sorted((root / folder).iterdir())[0].unlink()
    cfg = make_cfg(root, DATASETS__NAMES=(name,), DATASETS__TESTS=(name,))
    with pytest.raises(ValueError, match=text):
        query_and_gallery(cfg, name)
    (copied / "stray.txt").touch()  # other files do not matter
    shutil.rmtree(copied)
    with pytest.raises(FileNotFoundError, match=rf"expected the folder .*{top}.*; unpack the data"):
        training_items(cfg)


def test_small_set_name_without_number_is_refused(copy):
    folder, root = copy("VIPeR")
    (folder / "cam_a" / "holiday.bmp").touch()
    with pytest.raises(
        ValueError, match=r"expected the number of an identity in the name, got .*holiday.bmp"
    ):
        sides(root, "VIPeR_split0")


def test_small_set_other_folder_of_ilids(copy, tmp_path):
    folder, root = copy("QMUL-iLIDS")
    (root / "i-LIDS_Pedestrian").mkdir()
    (folder / "images").rename(root / "i-LIDS_Pedestrian" / "Persons")
    assert len(sides(root, "iLIDS_split0")[0]) == 60
