"""The pictures of a trained model, made as by a user, on a tiny model and tree."""

import re
from pathlib import Path

import cv2
import pytest
import torch
from fastreid.modeling.meta_arch import build_model

import plot
from fastreid_ext.config import load_config
from fastreid_ext.engine.inspection import features_of, inspection
from fastreid_ext.engine.run import load_model
from fastreid_ext.evaluation.features import extract_features

from .tiny import overrides

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ("rank-lists", "activation-maps", "feature-map", "distances", "camera-bias")


@pytest.fixture(scope="module")
def trained(market_root, tmp_path_factory):
    """Return a configuration file and a checkpoint of a model with random weights."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = load_config("", overrides(market_root, folder))
    (folder / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    return folder / "config.yaml", folder / "model.pth"


def arguments(trained, *more):
    return ["--config-file", str(trained[0]), "--weights", str(trained[1]), *map(str, more)]


@pytest.mark.parametrize("name", PICTURES)
def test_plots_beside_the_checkpoint(name, trained, capsys):
    plot.main(plot.parse([name, *arguments(trained)]))
    picture = trained[1].parent / f"{name.replace('-', '_')}_Market1501.png"
    assert cv2.imread(str(picture)).std() > 5
    assert f"wrote {picture}" in capsys.readouterr().out.splitlines()[-1]


def test_options_reach_the_pictures(trained, tmp_path):
    more = ("--choice", "worst", "--queries", 2, "--top", 3, "--output", tmp_path / "worst.png")
    words = arguments(trained, *more, "TEST.METRIC", "euclidean")
    plot.main(plot.parse(["rank-lists", *words]))
    assert cv2.imread(str(tmp_path / "worst.png")).shape[1] == 6 + 72 + 6 + 6 + 3 * 78 + 6


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("rank-lists", "--queries"),
        ("rank-lists", "--top"),
        ("activation-maps", "--identities"),
        ("activation-maps", "--cameras"),
        ("feature-map", "--identities"),
    ],
)
@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_a_picture_of_nothing_is_refused(name, option, number, trained, capsys):
    with pytest.raises(SystemExit) as end:
        plot.parse([name, *arguments(trained, f"{option}={number}")])
    assert end.value.code == 2
    assert f"expected a whole number of at least 1, got '{number}'" in capsys.readouterr().err


def test_activation_of_nan_is_refused(trained, tmp_path):
    checkpoint = torch.load(trained[1], weights_only=True)
    next(iter(checkpoint["model"].values()))[0] = float("nan")
    torch.save(checkpoint, tmp_path / "model.pth")
    words = arguments((trained[0], tmp_path / "model.pth"))
    with pytest.raises(ValueError, match=r"expected finite features, got NaN or infinity; did"):
        plot.main(plot.parse(["activation-maps", *words]))
    assert not list(tmp_path.glob("*.png"))


def test_flip_is_that_of_the_evaluation(trained, make_cfg):
    cfg = load_config(trained[0], ["TEST.FLIP.ENABLED", "True"])
    flipped = features_of(cfg, trained[1], "Market1501")
    plain = features_of(load_config(trained[0]), trained[1], "Market1501")
    mirrored = [
        {"images": batch["images"].flip(dims=[3]), **batch}
        for batch in _loader(load_config(trained[0]))
    ]
    for batch in mirrored:
        batch["images"] = batch["images"].flip(dims=[3])
    model = load_model(cfg, trained[1])
    other = extract_features(model, mirrored, plain.num_query)
    torch.testing.assert_close(flipped.features, (plain.features + other.features) / 2)
    assert not torch.allclose(flipped.features, plain.features)


def _loader(cfg):
    from fastreid_ext.data.build import build_test_loader

    return build_test_loader(cfg, "Market1501")[0]


def look(*given):
    return inspection(plot.parse(["distances", *map(str, given)]))


def test_features_are_kept_and_refused_for_another_model(trained, tmp_path, monkeypatch):
    first = look(*arguments(trained, "--features", tmp_path / "features.npz")).features()
    monkeypatch.setattr("fastreid_ext.engine.inspection.features_of", None)  # must not be called
    again = look(*arguments(trained, "--features", tmp_path / "features.npz")).features()
    torch.testing.assert_close(first.features, again.features, rtol=0, atol=0)
    assert again.paths == first.paths
    assert again.num_query == first.num_query
    assert again.metrics().mAP == first.metrics().mAP
    flipped = arguments(
        trained, "--features", tmp_path / "features.npz", "TEST.FLIP.ENABLED", "True"
    )
    with pytest.raises(ValueError, match="holds the features of another checkpoint, data set or"):
        look(*flipped).features()
    (tmp_path / "features.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"features\.npz is not a features file of these tools"):
        look(*arguments(trained, "--features", tmp_path / "features.npz")).features()


def test_mistakes_in_the_arguments(trained, tmp_path):
    config, weights = map(str, trained)
    with pytest.raises(ValueError, match="expected a checkpoint, got none; add --weights"):
        look("--config-file", config)
    with pytest.raises(ValueError, match="unknown name 'Market' in --dataset; did you mean"):
        look("--config-file", config, "--weights", weights, "--dataset", "Market")
    with pytest.raises(ValueError, match=r"expected a test set, got an empty DATASETS\.TESTS"):
        look("--config-file", config, "--weights", weights, "DATASETS.TESTS", "()")
    with pytest.raises(ValueError, match=r"expected the name of a \.png file"):
        look(*arguments(trained, "--output", tmp_path / "picture.pdf"))
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*; give an existing one as"):
        look("--config-file", config, "--weights", tmp_path / "none.pth")


def test_weights_of_another_model(trained, tmp_path):
    wider = ["MODEL.BACKBONE.DEPTH", "x0_5", "MODEL.BACKBONE.FEAT_DIM", "256"]
    with pytest.raises(ValueError, match="is not a checkpoint of this model: expected at least 90"):
        look(*arguments(trained, *wider)).model()


def test_a_recipe_that_wants_pretrained_weights_needs_none(trained):
    """The checkpoint holds the backbone."""
    assert look(*arguments(trained, "MODEL.BACKBONE.PRETRAIN", "True")).model()


@pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_a_tool_leaves_fastreid_to_the_package(path):
    """fastreid must not be imported before fastreid_ext, and sorted imports would do just that."""
    # fastreid.config is harmless.
    first = r"^ *(?:from|import) (fastreid_ext|fastreid\.(?:data|engine|evaluation|modeling))"
    imported = re.findall(first, path.read_text(), re.M)
    assert not imported or imported[0] == "fastreid_ext"
