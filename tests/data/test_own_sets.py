"""Custom data sets of DATASETS.SETS."""

import pytest
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.build import build_test_loader, build_train_loader
from fastreid_ext.data.configured_sets import training_items
from fastreid_ext.data.preflight import preflight

from .conftest import write_image, write_market


@pytest.fixture
def sets(tmp_path):
    """Write a training folder, a test folder with the same numbers, and unlabelled images."""
    write_market(tmp_path / "shop", train=range(1, 9), test=range(20, 22))
    write_market(tmp_path / "station", train=range(1, 3), test=range(1, 5))
    write_image(tmp_path / "crowd" / "a.png")
    table = "file_name,person_id,camera_id,split\na.png,3,0,train\n"
    (tmp_path / "crowd" / "few.csv").write_text(table)
    return [f"Shop={tmp_path}/shop", f"Station = {tmp_path}/station"]


def test_own_sets_train_on_one_folder_and_test_on_another(make_cfg, sets):
    names = {"DATASETS__NAMES": ("Shop",), "DATASETS__TESTS": ("Station", "Shop")}
    cfg = make_cfg("", DATASETS__SETS=sets, **names)
    report = preflight(cfg)
    assert report.ok, report
    assert [row[:3] for row in report.rows] == [
        ("Shop", "train", 32),
        ("Station", "query", 8),
        ("Station", "gallery", 16),
        ("Shop", "query", 4),
        ("Shop", "gallery", 8),
    ]
    paths = next(iter(build_train_loader(cfg)))["img_paths"]
    assert all("/shop/bounding_box_train/" in path for path in paths)
    loader, num_query = build_test_loader(cfg, "Station")
    assert num_query == 8
    assert all("/station/" in path for path in next(iter(loader))["img_paths"])


def test_own_sets_identities_of_two_folders_differ(make_cfg, sets):
    items = training_items(make_cfg("", DATASETS__SETS=sets, DATASETS__NAMES=("Shop", "Station")))
    assert len(items.items.pid_names) == 8 + 2
    assert items.parts == [("Shop", 32), ("Station", 8)]


def test_own_sets_of_tables_and_unlabelled_images(make_cfg, tmp_path, sets):
    more = [f"Few={tmp_path}/crowd/few.csv", f"Crowd=UnlabelledPersons:{tmp_path}/crowd"]
    keys = {"DATASETS__TESTS": (), "DATALOADER__SAMPLER_TRAIN": "TrainingSampler"}
    items = training_items(make_cfg("", DATASETS__SETS=more, DATASETS__NAMES=("Few",), **keys))
    assert list(items.items) == [(f"{tmp_path}/crowd/a.png", "few_3", "few_0")]
    cfg = make_cfg(
        "",
        DATASETS__SETS=more,
        DATASETS__NAMES=("Crowd",),
        MODEL__META_ARCHITECTURE="SimCLRPretrain",
        MODEL__HEADS__NAME="ProjectionHead",
        MODEL__HEADS__EMBEDDING_DIM=8,
        MODEL__LOSSES__NAME=("NTXentLoss",),
        INPUT__VIEWS__RECIPE="independent",
        INPUT__VIEWS__COUNT=2,
        **keys,
    )
    assert training_items(cfg).items[0][1:] == ("crowd_0", "crowd_0")
    with pytest.raises(ValueError, match=r"DATASETS.NAMES has Crowd, but Baseline learns from lab"):
        make_cfg("", DATASETS__SETS=more, DATASETS__NAMES=("Crowd",))
    with pytest.raises(ValueError, match=r"DATASETS.TESTS has Crowd, which has no labels to test"):
        make_cfg("", DATASETS__SETS=more, DATASETS__NAMES=("Few",), DATASETS__TESTS=("Crowd",))


def test_own_sets_name_with_another_path(make_cfg, tmp_path, sets):
    for number, folder in enumerate(("shop", "station")):
        cfg = make_cfg("", DATASETS__SETS=[f"Mine={tmp_path}/{folder}"], DATASETS__NAMES=("Mine",))
        assert len(training_items(cfg).items) == (32, 8)[number]
    with pytest.raises(ValueError, match=r"unknown name 'Mine' in DATASETS.NAMES"):
        make_cfg("", DATASETS__NAMES=("Mine",))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("/data/shop", r"expected name=path .* in DATASETS.SETS, got '/data/shop'; e.g. Shop=/da"),
        (
            "Shop=PersonFolders:/data",
            r"unknown name 'PersonFolders' .* did you mean 'Person",
        ),
        ("Shop=Market1501:/data", r"unknown name 'Market1501' .*known: PersonFolder, PersonTable"),
        ("market1501=/data", r"the name 'market1501' in DATASETS.SETS is taken by another"),
    ],
)
def test_own_sets_refuse_wrong_entries(make_cfg, entry, message):
    with pytest.raises(ValueError, match=message):
        make_cfg("", DATASETS__SETS=[entry])


def test_own_sets_misspelt_name_gets_the_nearest(make_cfg, sets):
    with pytest.raises(ValueError, match=r"unknown name 'Statoin' .*; did you mean 'Station'\?"):
        make_cfg("", DATASETS__SETS=sets, DATASETS__NAMES=("Shop",), DATASETS__TESTS=("Statoin",))


def test_own_sets_missing_folder_is_named(make_cfg, tmp_path):
    cfg = make_cfg("", DATASETS__SETS=[f"Gone={tmp_path}/gone"], DATASETS__NAMES=("Gone",))
    with pytest.raises(FileNotFoundError, match=r"in .*gone \(DATASETS.SETS\), got none"):
        training_items(cfg)
    assert DATASET_REGISTRY.get("Gone").dataset_name == "gone"
