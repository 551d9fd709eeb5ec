"""A checkpoint must fit before its model is evaluated, exported or plotted."""

import logging

import pytest
import torch

from fastreid_ext.command_line import show_loading
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.run import load_model
from fastreid_ext.engine.setup import with_classes
from fastreid_ext.evaluation.features import batch_features

from ..tiny_cfg import tiny_cfg

R18 = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.FEAT_DIM": 0,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPoolingP",
    "MODEL.HEADS.NUM_CLASSES": 5,
    "INPUT.SIZE_TEST": [96, 32],
}
ARCHITECTURES = [
    {},
    {"MODEL.HEADS.EMBEDDING_DIM": 64},
    {"MODEL.META_ARCHITECTURE": "MGN", "MODEL.BACKBONE.DEPTH": "50x"},
]


def cfg_of(**changes):
    return tiny_cfg(R18, changes)


def model_of(cfg):
    """Build a model in which every tensor of a neck matters."""
    from fastreid.modeling import build_model

    torch.manual_seed(1)
    model = build_model(cfg)
    for name, value in model.state_dict().items():
        if "bottleneck" in name and value.is_floating_point():
            value.uniform_(0.5, 2.0)
    return model.eval()


def features(model):
    images = torch.rand(2, 3, 96, 32, generator=torch.Generator().manual_seed(2)) * 255
    with torch.no_grad():
        return batch_features(model.eval(), {"images": images}, flip=False)


def older(name: str, last: int) -> str:
    """Return a name as fastreid's first model zoo has it."""
    name = name.replace(f".bottleneck.{last}.", ".bnneck.")
    is_classifier = name == "heads.weight" or name.endswith("_head.weight")
    return name.replace(".weight", ".classifier.weight") if is_classifier else name


@pytest.mark.parametrize("changes", ARCHITECTURES)
def test_heads_of_the_older_model_zoo_give_the_same_features(tmp_path, changes):
    cfg = cfg_of(**changes)
    model = model_of(cfg)
    last = 1 if any(name.endswith("bottleneck.1.weight") for name in model.state_dict()) else 0
    weights = {older(name, last): value for name, value in model.state_dict().items()}
    assert any(".bnneck." in name for name in weights)
    torch.save({"model": weights}, tmp_path / "zoo.pth")
    torch.testing.assert_close(features(load_model(cfg, tmp_path / "zoo.pth")), features(model))


def test_mapped_names_are_printed(tmp_path, capsys):
    cfg = cfg_of()
    weights = {older(name, 0): value for name, value in model_of(cfg).state_dict().items()}
    torch.save({"model": weights}, tmp_path / "zoo.pth")
    logger = logging.getLogger("fastreid_ext.engine.checkpoint")
    handlers = list(logger.handlers)
    level = logger.level
    logger.handlers = []  # of commands that other tests ran
    try:
        show_loading()
        load_model(cfg, tmp_path / "zoo.pth")
    finally:
        logger.handlers = handlers
        logger.level = level
    said = capsys.readouterr().err
    assert "names of the older model zoo: " in said
    assert "heads.bnneck.weight -> heads.bottleneck.0.weight" in said
    assert f"Loaded weights from {tmp_path}/zoo.pth: " in said


@pytest.mark.parametrize(
    "lost", ["heads.bottleneck.0.running_mean", "backbone.layer4.1.bn2.bias", "heads.pool_layer.p"]
)
def test_a_tensor_that_features_depend_on_must_load(tmp_path, lost):
    cfg = cfg_of()
    weights = model_of(cfg).state_dict()
    del weights[lost]
    torch.save({"model": weights}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=rf"lacks 1 tensors that the features .*\({lost}\)"):
        load_model(cfg, tmp_path / "part.pth")


def test_what_no_feature_depends_on_may_be_absent(tmp_path):
    cfg = cfg_of()
    model = model_of(cfg)
    weights = model.state_dict()
    torch.save({"model": {k: v for k, v in weights.items() if k != "heads.weight"}}, tmp_path / "a")
    loaded = load_model(cfg, tmp_path / "a")
    torch.testing.assert_close(features(loaded), features(model))
    assert torch.isfinite(loaded.heads.weight).all()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrapped_models_are_taken_off(tmp_path, prefix):
    cfg = cfg_of()
    model = model_of(cfg)
    weights = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "wrapped.pth")
    torch.testing.assert_close(features(load_model(cfg, tmp_path / "wrapped.pth")), features(model))


def test_a_training_may_start_from_a_part(tmp_path):
    model = model_of(cfg_of())
    weights = model.state_dict()
    del weights["heads.bottleneck.0.running_mean"]
    torch.save({"model": weights}, tmp_path / "part.pth")
    checkpointer = AtomicCheckpointer(model)
    checkpointer.load(str(tmp_path / "part.pth"))
    assert checkpointer.left_as_built == ["heads.bottleneck.0.running_mean"]


def test_number_of_classes_of_other_data_is_said(caplog):
    assert with_classes(cfg_of(**{"MODEL.HEADS.NUM_CLASSES": 0}), 8).MODEL.HEADS.NUM_CLASSES == 8
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 5 but the training data have 8.*to 0"):
        with_classes(cfg_of(), 8)
    assert with_classes(cfg_of(), 3).MODEL.HEADS.NUM_CLASSES == 5
    assert "NUM_CLASSES is 5 but the training data have 3 identities" in caplog.text
