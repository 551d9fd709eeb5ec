import pytest

from fastreid_ext.data.configured_sets import open_dataset, query_and_gallery, training_items
from fastreid_ext.data.datasets import CUHK03Detected, RenderedCampus

from .conftest import write_image, write_market

RENDERED = ("RenderedCampus", "RenderedMall", "RenderedStation", "RenderedStreet", "RenderedVI")
HOSTS = ("Market1501", "MSMT17", "CUHK03", "CUHK03Detected", "DukeMTMC")


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_domain_reads_its_folder(make_cfg, tmp_path, name):
    write_market(tmp_path / name)
    cfg = make_cfg(tmp_path, DATASETS__NAMES=(name,), DATASETS__TESTS=(name,))
    training = training_items(cfg)
    folder = tmp_path / name / "bounding_box_train"
    assert training.items[0] == (
        str(folder / "0001_c1s1_000000_00.jpg"), f"{name.lower()}_1", f"{name.lower()}_0"
    )  # fmt: skip
    assert len(training.items) == 32
    items, num_query = query_and_gallery(cfg, name)
    assert num_query == 6
    assert items[0] == (str(tmp_path / name / "query" / "0009_c1s1_000000_00.jpg"), 9, 0)
    assert items[6] == (str(tmp_path / name / "bounding_box_test/0009_c1s1_000000_00.jpg"), 9, 0)


def test_rendered_domain_reads_png_and_leaves_junk_out(tmp_path):
    folder = tmp_path / "RenderedCampus" / "bounding_box_train"
    for name in ("-1_c1s1_000001_00.jpg", "0007_c12s1_000001_00.PNG", "0000_c2s1_000001_00.jpg"):
        write_image(folder / name)
    (folder / "Thumbs.db").write_bytes(b"")
    train = RenderedCampus(root=str(tmp_path)).train
    assert [(pid, camid) for _, pid, camid in train] == [
        ("renderedcampus_0", "renderedcampus_1"),
        ("renderedcampus_7", "renderedcampus_11"),
    ]


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_domain_missing_names_the_command(make_cfg, tmp_path, name):
    cfg = make_cfg(tmp_path, DATASETS__NAMES=(name,))
    text = (
        f"expected the folder .*{name}/bounding_box_train; make it with: "
        f"python tools/render_persons.py --domain {name} --root {tmp_path}"
    )
    with pytest.raises(FileNotFoundError, match=text):
        training_items(cfg)


def test_rendered_domain_empty_or_wrong_folder(make_cfg, tmp_path):
    cfg = make_cfg(tmp_path, DATASETS__NAMES=("RenderedMall",))
    folder = tmp_path / "RenderedMall" / "bounding_box_train"
    folder.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"expected images .* in .*, got none"):
        training_items(cfg)
    write_image(folder / "holiday.jpg")
    text = r"expected a name like 0001_c1s1_000001_00.jpg .* got .*holiday.jpg; is .* the folder of"
    with pytest.raises(ValueError, match=text):
        training_items(cfg)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Market1501", "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}"),
        ("MSMT17", "MSMT17_V1/{train,test} or MSMT17_V2/"),
        ("CUHK03", "cuhk03/cuhk03_release/cuhk-03.mat"),
        ("CUHK03Detected", "cuhk03/cuhk03_release/cuhk-03.mat"),
        ("DukeMTMC", "DukeMTMC-reID/{bounding_box_train"),
        ("VIPeR", "VIPeR"),
    ],
)
def test_real_set_missing_names_the_folder(make_cfg, tmp_path, name, folder):
    cfg = make_cfg(tmp_path, DATASETS__NAMES=(name,), DATASETS__TESTS=(name,))
    with pytest.raises(FileNotFoundError) as error:
        training_items(cfg)
    assert f"expected {tmp_path}/{folder}" in str(error.value)
    assert "DATASETS.ROOT" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTS)
def test_real_sets_are_accepted_by_the_configuration(make_cfg, name):
    cfg = make_cfg(DATASETS__NAMES=(name,), DATASETS__TESTS=(name,))  # check_config accepts it
    assert cfg.DATASETS.NAMES == (name,)


def test_market_incomplete_is_explained(make_cfg, tmp_path):
    folder = write_market(tmp_path / "Market-1501-v15.09.15")
    (folder / "query").rename(folder / "queries")
    with pytest.raises(FileNotFoundError, match=r'Market1501 is not complete: .*query" is not fou'):
        training_items(make_cfg(tmp_path))


def test_root_like_an_identity_is_refused(make_cfg, tmp_path):
    write_market(tmp_path / "run-3_c2" / "Market-1501-v15.09.15")
    with pytest.raises(
        ValueError, match=r"has a part like '1_c1', which fastreid takes for identity"
    ):
        training_items(make_cfg(tmp_path / "run-3_c2"))


def test_test_set_without_queries_is_refused(make_cfg, tmp_path):
    folder = write_market(tmp_path / "Market-1501-v15.09.15")
    for path in (folder / "query").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"queries and a gallery in .*Market1501, got 0 and 12"):
        query_and_gallery(make_cfg(tmp_path), "Market1501")


def test_training_items_are_sorted_in_each_set(make_cfg, tmp_path):
    write_market(tmp_path / "Market-1501-v15.09.15", train=(3, 1, 2))
    write_market(tmp_path / "RenderedMall", train=(1,))
    training = training_items(make_cfg(tmp_path, DATASETS__NAMES=("RenderedMall", "Market1501")))
    assert training.source == ["RenderedMall"] * 4 + ["Market1501"] * 12
    paths = [path for path, _, _ in training.items]
    assert paths == sorted(paths[:4]) + sorted(paths[4:])


def test_root_comes_from_the_environment(make_cfg, market_root, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    cfg = make_cfg("")
    assert len(open_dataset(cfg, "Market1501").train) == 32


def test_cuhk03_detected_reads_its_split(tmp_path):
    import json

    folder = tmp_path / "cuhk03"
    (folder / "cuhk03_release").mkdir(parents=True)
    (folder / "cuhk03_release" / "cuhk-03.mat").touch()
    splits = {"classic_detected": 10, "classic_labeled": 11, "new_detected": 12, "new_labeled": 13}
    for kind in ("detected", "labeled"):
        (folder / f"images_{kind}").mkdir()
        (folder / f"cuhk03_new_protocol_config_{kind}.mat").touch()
    for name, pid in splits.items():
        items = {part: [["a.png", pid, 0]] for part in ("train", "query", "gallery")}
        (folder / f"splits_{name}.json").write_text(json.dumps([items]))
    assert CUHK03Detected(root=str(tmp_path)).train == [("a.png", "cuhk03_12", "cuhk03_0")]
