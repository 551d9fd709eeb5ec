"""evaluate_corruption.py and plot.py, run as a user would on a trained tiny model."""

import importlib.util
import json
from pathlib import Path

import cv2
import pytest

import plot
from fastreid_ext.config import load_config
from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES
from fastreid_ext.data.dataset import read_rgb
from fastreid_ext.engine import corruption_run
from fastreid_ext.engine.run import train
from fastreid_ext.evaluation.corruption.corrupted_images import test_images
from fastreid_ext.evaluation.corruption.index import sample_index
from fastreid_ext.evaluation.corruption.index_file import read_index, write_index

from .tiny import overrides

INDEX = "corruption_index.jsonl"  # its name where none is given
SOME = ("gaussian_noise", "fog", "rain", "contrast")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(market_root, tmp_path_factory):
    """Return the configuration file and the weights of a model that knows the colours."""
    folder = tmp_path_factory.mktemp("trained")
    pairs = overrides(market_root, folder / "run", SOLVER__MAX_EPOCH=3, DATALOADER__NUM_WORKERS=0)
    cfg = load_config("", pairs)
    train(cfg)
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "config.yaml", folder / "run" / "model_final.pth"


@pytest.fixture(scope="module")
def tested(trained, tmp_path_factory):
    """Evaluate four corruptions of the gallery with a grid and two repeats; return the folder."""
    output = tmp_path_factory.mktemp("tested") / "BoT"
    files = test_images(load_config(trained[0]), "Market1501").files("both")
    write_index(sample_index("Market1501", files, corruptions=SOME), output / INDEX)
    run(trained, output, "--grid", "--repeats", 2, "--corrupt", "gallery", "--pixels")
    return output


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(trained, output, *more):
    module = tool("evaluate_corruption")
    given = ["--config-file", trained[0], "--weights", trained[1], "--output", output, *more]
    module.main(module.parse([str(part) for part in given]))


def copied(tested, tmp_path):
    """Return a copy of the finished evaluation."""
    folder = tmp_path / "copy"
    for path in tested.rglob("*.json*"):
        target = folder / path.relative_to(tested)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder


def test_results_say_what_was_done(tested, trained):
    content = json.loads((tested / "corruption.json").read_text())
    assert (content["data_set"], content["corrupt"]) == ("Market1501", "gallery")
    assert len(content["repeats"]) == 2
    assert tuple(content["grid"]) == SOME
    assert all(list(cells) == list("12345") for cells in content["grid"].values())
    index = read_index(tested / INDEX)
    assert content["index"]["rows_sha256"] == index.rows_sha256
    assert index.repeats == 10
    assert len(content["weights_sha256"]) == 64
    assert content["versions"]["opencv-python-headless"]
    assert content["config"]["MODEL"]["BACKBONE"]["DEPTH"] == "x0_25"
    assert "fastreid's rule" in content["ap_rule"]
    for name in ("repeats.png", "heat_map.png", "drops.png"):
        assert cv2.imread(str(tested / name)).std() > 5
    assert (tested / "corruption_index.pixels.jsonl").is_file()


def test_a_trained_model_loses_by_corruption(tested):
    content = json.loads((tested / "corruption.json").read_text())
    assert content["clean"]["mAP"] > 70
    assert content["corrupted"]["mAP"]["mean"] < content["clean"]["mAP"] - 5
    assert content["by_severity"]["5"]["mAP"] < content["by_severity"]["1"]["mAP"]


def test_what_is_done_is_not_done_again(tested, trained, tmp_path, monkeypatch):
    folder = copied(tested, tmp_path)
    (folder / "corruption.json").unlink()

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(corruption_run, "load_model", never)
    run(trained, folder, "--grid", "--repeats", 2, "--corrupt", "gallery")
    before = json.loads((tested / "corruption.json").read_text())
    now = json.loads((folder / "corruption.json").read_text())
    for key in ("clean", "repeats", "grid", "corrupted", "weights_sha256", "index"):
        assert before[key] == now[key]
    assert now["pixels"] == {
        "compared": 48,
        "different": 0,
        "share": 0.0,
        "different_by_corruption": {},
    }


def test_parts_of_something_else_are_refused(tested, trained, tmp_path, monkeypatch):
    folder = copied(tested, tmp_path)
    with pytest.raises(
        ValueError, match=r"holds an evaluation of other settings \(TEST\.FLIP was .*\); give"
    ):
        run(trained, folder, "--repeats", 2, "--corrupt", "gallery", "TEST.FLIP.ENABLED", "True")
    with pytest.raises(ValueError, match=r"\(corrupt was \w+, is \w+\); give another --output"):
        run(trained, folder, "--repeats", 2)
    with monkeypatch.context() as patch:
        patch.setattr(corruption_run, "pixel_probe", lambda names: "of another machine")
        with pytest.raises(ValueError, match=r"\(pixel probe was .*\); give another"):
            run(trained, folder, "--repeats", 2, "--corrupt", "gallery")
    run(trained, folder, "--repeats", 2, "--corrupt", "gallery", "TEST.IMS_PER_BATCH", 3)


def test_shards_merge_to_the_numbers_of_one_process(tested, trained, tmp_path, capsys, monkeypatch):
    """Also from packed images, and from images decoded by Pillow."""
    folder = tmp_path / "BoT"
    folder.mkdir()
    (folder / INDEX).write_bytes((tested / INDEX).read_bytes())
    common = ("--grid", "--repeats", 2, "--corrupt", "gallery", "--pixels", "--shard")
    packed = ("DATALOADER.PACKED_CACHE", tmp_path / "packed")
    run(trained, folder, *common, "1/3", *packed)
    said = capsys.readouterr().out
    assert "15 parts are left to other shards (clean, ...); the last of them writes" in said
    assert not (folder / "corruption.json").exists()
    assert len(list((tmp_path / "packed").glob("*.packed"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr("fastreid_ext.data.build.read_pixels", read_rgb)
        run(trained, folder, *common, "2/3")
    # The first of three in two processes of a launcher.
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        run(trained, folder, *common, "0/3", *packed)
    one = json.loads((tested / "corruption.json").read_text())
    three = json.loads((folder / "corruption.json").read_text())
    for key in ("clean", "repeats", "grid", "corrupted", "by_severity", "pixel_probe"):
        assert three[key] == one[key]
    pixels = "corruption_index.pixels.jsonl"
    assert (folder / pixels).read_text() == (tested / pixels).read_text()


@pytest.mark.slow
def test_an_index_of_all_corruptions_is_made(trained, tmp_path):
    run(trained, tmp_path, "--repeats", 1, "--index", tmp_path / "lab" / "index.jsonl.gz")
    index = read_index(tmp_path / "lab" / "index.jsonl.gz")
    assert index.corruptions == CORRUPTION_NAMES
    assert (index.repeats, index.side, index.seed, len(index.names)) == (10, "both", 0, 32)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"lab", "parts", "corruption.json", "corruption.md", "repeats.png"}
    assert json.loads((tmp_path / "corruption.json").read_text())["pixels"] is None


def test_the_same_index_for_all(tested, trained, tmp_path):
    """A given index is used as it is; one of other images is refused."""
    index = tested / INDEX
    run(trained, tmp_path / "a", "--index", index, "--repeats", 1, "--corrupt", "gallery")
    theirs = json.loads((tested / "corruption.json").read_text())
    ours = json.loads((tmp_path / "a" / "corruption.json").read_text())
    assert ours["repeats"][0] == theirs["repeats"][0]
    assert ours["pixels"]["compared"] == 24
    assert not (tmp_path / "a" / INDEX).exists()
    other = tmp_path / "other.jsonl"
    changed = index.read_text().replace("Market1501", "DukeMTMC", 1)
    other.write_text(changed)
    with pytest.raises(ValueError, match="expected a -C index of Market1501, got one of DukeMTMC"):
        run(trained, tmp_path / "b", "--index", other)
    with pytest.raises(
        ValueError, match="expected 1 to 10 repeats, which the -C index has, got 11"
    ):
        run(trained, tmp_path / "b", "--index", index, "--repeats", 11)


def test_mce_with_a_baseline(tested, trained, tmp_path, capsys):
    folder = copied(tested, tmp_path)
    baseline = tested / "corruption.json"
    more = ("--repeats", 2, "--corrupt", "gallery", "--baseline", baseline)
    run(trained, folder, "--grid", *more)
    written = json.loads((folder / "corruption.json").read_text())
    assert written["baseline_installation_differences"] == []
    content = written["mCE"]
    assert content["baseline"] == "BoT"
    assert content["mean"]["mAP"] == pytest.approx(100)
    assert "errors relative to BoT" in (folder / "corruption.md").read_text()
    assert "mCE 100.0" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(ValueError, match="expected --grid with --baseline: mCE compares errors"):
        run(trained, folder, *more)
    with pytest.raises(ValueError, match="tested on the same pixels, got corrupted side gallery"):
        run(trained, tmp_path / "both", "--grid", "--baseline", baseline)


def test_mistakes_are_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none\.pth; give an existing"):
        run((trained[0], tmp_path / "none.pth"), tmp_path)
    with pytest.raises(ValueError, match=r"'Market1502' in --dataset; did you mean 'Market1501'"):
        run(trained, tmp_path, "--dataset", "Market1502")


def test_contact_sheet(market_root, tmp_path, capsys):
    image = next(market_root.rglob("query/*.jpg"))
    for source in (["--image", image], ["--dataset", "Market1501"]):
        given = [*source, "--output", tmp_path / "sheet.png", "DATASETS.ROOT", market_root]
        plot.main(plot.parse(["corruptions", *map(str, given)]))
        assert f"wrote {tmp_path / 'sheet.png'}" in capsys.readouterr().out
        sheet = cv2.imread(str(tmp_path / "sheet.png"))
        assert sheet.shape[0] > 6 * 160
        assert sheet.shape[1] > 20 * 84
    words = ["--dataset", "Market", "--output", str(tmp_path / "a.png")]
    with pytest.raises(ValueError, match=r"'Market' in --dataset; did you mean"):
        plot.main(plot.parse(["corruptions", *words]))
    words = ["--image", str(image), "--output", str(tmp_path / "a.jpg")]
    with pytest.raises(ValueError, match=r"expected the name of a \.png file"):
        plot.main(plot.parse(["corruptions", *words]))
