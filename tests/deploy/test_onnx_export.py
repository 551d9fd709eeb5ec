import sys
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fastreid_ext.deploy import FeatureExtractor
from fastreid_ext.deploy import onnx_export as module
from fastreid_ext.deploy.onnx_export import export_onnx

R18 = {
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__BACKBONE__DEPTH": "18x",
    "MODEL__BACKBONE__FEAT_DIM": 0,
}
R50 = {**R18, "MODEL__BACKBONE__DEPTH": "50x"}
VIT = {**R18, "MODEL__BACKBONE__NAME": "build_plain_vit_backbone", "MODEL__BACKBONE__DEPTH": "tiny"}
CLIP = {**VIT, "MODEL__BACKBONE__NAME": "build_clip_vit_backbone", "MODEL__BACKBONE__DEPTH": "base"}
SWIN = {
    **VIT,
    "MODEL__BACKBONE__NAME": "build_swin_backbone",
    "INPUT__SIZE_TRAIN": [128, 64],
    "INPUT__SIZE_TEST": [128, 64],
}
HIGH = {"INPUT__SIZE_TRAIN": [96, 32], "INPUT__SIZE_TEST": [96, 32]}
BDB = {
    "MODEL__META_ARCHITECTURE": "BDB",
    "MODEL__HEADS__NAME": "BDBHead",
    "MODEL__HEADS__WITH_BNNECK": False,
    "MODEL__BACKBONE__LAST_STRIDE": 1,
}
MGN = {"MODEL__META_ARCHITECTURE": "MGN", "MODEL__HEADS__EMBEDDING_DIM": 16, **HIGH}
GEM = {"MODEL__HEADS__POOL_LAYER": "GeneralizedMeanPooling"}
GEM_P = {"MODEL__HEADS__POOL_LAYER": "GeneralizedMeanPoolingP"}
NON_LOCAL = {"MODEL__BACKBONE__WITH_NL": True}
SLOW = {
    "AGW ResNet-50, non-local": {**R50, **GEM, **NON_LOCAL},
    "SBS ResNet-18": {**R18, **GEM_P},
    "BDB ResNet-18": {**R18, **BDB},
    "MGN ResNet-50": {**R50, **MGN},
    "MGN ViT": {**VIT, **MGN, "MODEL__BACKBONE__TOKENS": "patch"},
    "BoT Swin-T": SWIN,
    "SOLIDER Swin-T": {**SWIN, "MODEL__BACKBONE__SEMANTIC_WEIGHT": 0.2},
    "BoT ViT class": {**VIT, "MODEL__BACKBONE__TOKENS": "class"},
    "BoT ViT patch": {**VIT, "MODEL__BACKBONE__TOKENS": "patch"},
    "BoT CLIP": CLIP,
}


def folder_of_images(folder):
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(3)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (100, 50, 3), dtype=np.uint8))
    return paths


@pytest.fixture(scope="module")
def exported(tmp_path_factory, save_model):
    """A BoT with a ResNet-18, exported once."""
    folder = tmp_path_factory.mktemp("onnx")
    model = save_model(**R18)
    images = folder_of_images(folder)
    report = export_onnx(*model, folder / "new" / "model.onnx", images=images)
    return model, images, report


def run(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["features"], {"images": images})[0]


def test_onnx_of_plain_pixels_gives_the_features_of_torch(exported):
    """Normalisation is inside: the input is the resized image in [0, 255], nothing else."""
    model, paths, report = exported
    extractor = FeatureExtractor(*model)
    plain = [cv2.imread(str(path))[:, :, ::-1] for path in paths]
    resized = np.stack([extractor.transform(_pil(image)).numpy() for image in plain])
    assert 200 < resized.max() <= 255
    expected = extractor(paths)
    got = run(report.path, resized)
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())
    for count in (1, 2):  # a batch of any size
        np.testing.assert_allclose(
            run(report.path, resized[:count]), expected[:count], atol=1e-4 * np.abs(expected).max()
        )


def _pil(image):
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image))


def test_the_file_says_what_it_is(exported):
    _, _, report = exported
    proto = onnx.load(report.path)
    onnx.checker.check_model(proto)
    assert [value.name for value in proto.graph.input] == ["images"]
    assert [value.name for value in proto.graph.output] == ["features"]
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert [dim.dim_value for dim in dims[1:]] == [3, 64, 32]
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["config"] == "config.yaml"
    assert metadata["architecture"] == "Baseline, build_resnet_backbone 18x"
    assert (metadata["input_height"], metadata["input_width"]) == ("64", "32")
    assert metadata["feature_dim"] == "512"
    assert metadata["classes"] == "5"
    assert metadata["colour_order"] == "RGB"
    assert metadata["value_range"].startswith("[0, 255], float32")
    assert "divide by the L2 norm" in metadata["normalised"]


def test_the_report_says_how_near_it_is(exported):
    _, _, report = exported
    assert report.shape == (3, 64, 32)
    assert report.feature_dim == 512
    assert report.checked == 1 + 3 + 3  # random ones in two batches, given ones
    assert report.difference < 1e-4 * report.largest
    assert "-> features (batch, 512); onnxruntime differs from torch by at most" in str(report)


def test_a_wrong_result_is_refused_and_nothing_written(exported, save_model, tmp_path, monkeypatch):
    """The graph is that of a model with other weights."""
    monkeypatch.setattr(module, "_exported", lambda *_: onnx.load(exported[2].path))
    other = save_model(seed=1, **R18)
    with pytest.raises(ValueError, match=r"the exported model is not the same: .*nothing was writ"):
        export_onnx(*other, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_features_that_are_not_finite_are_refused(exported, save_model, tmp_path, monkeypatch):
    """Every comparison with NaN is false, so a difference of NaN must not pass for a small one."""
    config, weights = save_model(**R18)
    state = torch.load(weights, weights_only=True)
    state["model"]["backbone.conv1.weight"].fill_(float("nan"))
    torch.save(state, weights)
    monkeypatch.setattr(module, "_exported", lambda *_: onnx.load(exported[2].path))
    with pytest.raises(ValueError, match="expected finite features, got NaN or infinity from"):
        export_onnx(config, weights, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_of_one_batch_size_is_refused(exported, tmp_path, monkeypatch):
    """Python code of a model that asks for the length of a batch makes it a constant."""
    model, _, report = exported
    proto = onnx.load(report.path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: SimpleNamespace(model_proto=proto))
    with pytest.raises(ValueError, match=r"for batches of 2 images only; in its code, take shape"):
        export_onnx(*model, tmp_path / "model.onnx")


def test_a_model_that_cannot_be_exported(exported, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no ONNX function for aten.cdist")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match=r"cannot export this model .* function for aten\.cdist"):
        export_onnx(*exported[0], tmp_path / "model.onnx")


def test_uint8_and_flip(exported, tmp_path):
    model = exported[0]
    report = export_onnx(*model, tmp_path / "model.onnx", uint8=True, flip=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype=np.uint8)
    expected = FeatureExtractor(*model, flip=True)(list(images))
    got = run(report.path, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_exports(name, save_model, tmp_path):
    images = folder_of_images(tmp_path)
    report = export_onnx(*save_model(**SLOW[name]), tmp_path / "model.onnx", images=images)
    assert report.difference <= 1e-4 * report.largest
    assert report.largest > 0
    assert report.checked == 7


def test_mistakes(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"expected the name of a \.onnx file, got model\.pt"):
        export_onnx(*tiny, "model.pt")
    other = ["MODEL.BACKBONE.DEPTH", "x0_5", "MODEL.BACKBONE.FEAT_DIM", "256"]
    with pytest.raises(ValueError, match="is not a checkpoint of this model"):
        export_onnx(*tiny, tmp_path / "model.onnx", overrides=other)
    with pytest.raises(ValueError, match=r"expected INPUT\.SIZE_TEST .* to export, got \[0, 0\]"):
        export_onnx(*tiny, tmp_path / "a.onnx", overrides=["INPUT.SIZE_TEST", "[0,0]"])


def test_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="the export needs onnxruntime; pip install onnx"):
        export_onnx(*tiny, tmp_path / "model.onnx")
