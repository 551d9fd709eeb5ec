import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fastreid_ext.config import load_config
from fastreid_ext.deploy import FeatureExtractor, ImageFeatures, read_features, write_features
from fastreid_ext.deploy.feature_extractor import image_files
from fastreid_ext.deploy.load import description
from fastreid_ext.engine.inspection import features_of

ROOT = Path(__file__).resolve().parents[2]
WIDER = ["MODEL.BACKBONE.DEPTH", "x0_5", "MODEL.BACKBONE.FEAT_DIM", "256"]


@pytest.fixture
def extractor(tiny):
    return FeatureExtractor(*tiny)


@pytest.fixture
def gallery(market_root):
    return market_root / "Market-1501-v15.09.15" / "bounding_box_test"


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_folder_gives_the_features_of_the_evaluation(tiny, market_root, gallery, flip, workers):
    cfg = load_config(tiny[0], ["DATASETS.ROOT", str(market_root), "TEST.FLIP.ENABLED", str(flip)])
    test = features_of(cfg, tiny[1], "Market1501")
    result = FeatureExtractor(*tiny, flip=flip).folder(gallery, workers=workers)
    expected = dict(zip(map(Path, test.paths), test.features.numpy(), strict=True))
    assert result.paths == sorted(path.name for path in gallery.iterdir())
    for path, features in zip(result.paths, result.features, strict=True):
        # Batches differ, so sums may be taken in another order.
        np.testing.assert_allclose(features, expected[gallery / path], rtol=1e-4, atol=1e-6)


def test_paths_and_arrays_give_the_same(extractor, gallery):
    paths = sorted(gallery.iterdir())[:5]
    arrays = [cv2.imread(str(path))[:, :, ::-1] for path in paths]
    from_paths = extractor(paths)
    from_arrays = extractor(arrays)
    assert from_paths.shape == (5, 128)
    assert from_paths.dtype == np.float32
    # Two decoders of JPEG may differ by one grey level.
    np.testing.assert_allclose(from_paths, from_arrays, atol=0.02 * np.abs(from_paths).max())
    swapped = extractor([array[:, :, ::-1] for array in arrays])
    assert np.abs(swapped - from_arrays).max() > 10 * np.abs(from_paths - from_arrays).max()


def test_features_of_nan_are_refused(extractor, gallery):
    next(extractor.model.parameters()).data[0] = float("nan")
    with pytest.raises(ValueError, match=r"expected finite features, got NaN .* for 2 of 2 images"):
        extractor(sorted(gallery.iterdir())[:2])


def test_a_model_stays_in_evaluation_mode(extractor, gallery):
    first = extractor([sorted(gallery.iterdir())[0]])
    np.testing.assert_array_equal(first, extractor([sorted(gallery.iterdir())[0]]))
    assert not extractor.model.training


def test_a_configuration_object_does_as_well(tiny, gallery):
    cfg = load_config(tiny[0])
    path = sorted(gallery.iterdir())[:1]
    np.testing.assert_array_equal(
        FeatureExtractor(cfg, tiny[1])(path), FeatureExtractor(*tiny)(path)
    )
    assert cfg.is_frozen()


def test_subfolders_are_searched_and_hidden_files_left_out(gallery, tmp_path):
    source = sorted(gallery.iterdir())[0]
    for name in ("b/2.JPG", "b/1.jpg", "a.png", ".hidden.jpg", ".git/x.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / name)
    assert image_files(tmp_path) == ["a.png", "b/1.jpg", "b/2.JPG"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_hold_what_was_written(suffix, tmp_path):
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    result = ImageFeatures(features, ["a/1.jpg", "ü.png", "z.jpg"], {"metric": "cosine"})
    path = write_features(result, tmp_path / f"new/features{suffix}")
    again = read_features(path)
    np.testing.assert_array_equal(again.features, features)
    assert again.paths == result.paths
    assert again.metadata == result.metadata
    plain = load_file(path) if suffix == ".safetensors" else np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(plain["features"], features)


def test_metadata_say_which_model(extractor):
    assert extractor.metadata["config"] == "config.yaml"
    assert extractor.metadata["weights"] == "model_final.pth"
    assert extractor.metadata["classes"] == "5"
    assert extractor.metadata["flip"] == "no"
    assert "divide by the L2 norm" in extractor.metadata["normalised"]


def test_damaged_images_stop_or_are_left_out(extractor, gallery, tmp_path):
    shutil.copy(sorted(gallery.iterdir())[0], tmp_path / "b.jpg")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(OSError, match=r"cannot read image .*a\.jpg: .*pass --skip-unreadable"):
        extractor.folder(tmp_path)
    result = extractor.folder(tmp_path, skip_unreadable=True)
    assert result.paths == ["b.jpg"]
    assert list(result.unreadable) == ["a.jpg"]
    np.testing.assert_array_equal(result.features, extractor([tmp_path / "b.jpg"]))
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected readable images in .*, got 2 damaged"):
        extractor.folder(tmp_path, skip_unreadable=True)


def test_folders_without_images(extractor, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder at .*none"):
        extractor.folder(tmp_path / "none")
    with pytest.raises(ValueError, match=r"expected images \(\.jpg, .* got none"):
        extractor.folder(tmp_path)


def test_what_is_no_image(extractor):
    with pytest.raises(ValueError, match=r"expected a list of at least one path .* an empty one"):
        extractor([])
    with pytest.raises(ValueError, match=r"got one; write extract\(\[image\]\)"):
        extractor("a.jpg")
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB .*got \(8, 8, 3\) float32"):
        extractor([np.zeros((8, 8, 3), np.float32)])
    with pytest.raises(ValueError, match=r"got \(8, 8, 4\) uint8"):
        extractor([np.zeros((8, 8, 4), np.uint8)])


def test_weights_of_another_model(tiny):
    with pytest.raises(ValueError, match="is not a checkpoint of this model"):
        FeatureExtractor(*tiny, overrides=WIDER)


def test_files_that_are_no_features(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.npz or \.safetensors, got features\.csv"):
        read_features("features.csv")
    for name in ("a.npz", "a.safetensors"):
        with pytest.raises(FileNotFoundError, match="no features file at"):
            read_features(tmp_path / name)
        (tmp_path / name).write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(ValueError, match=rf"{name} is not a features file"):
            read_features(tmp_path / name)


def test_the_tool_writes_all_or_nothing(tiny, gallery, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools" / "extract_features.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    folder = tmp_path / "crops"
    shutil.copytree(gallery, folder)
    (folder / "0000.jpg").write_bytes(b"no image")
    output = tmp_path / "features.npz"
    given = ["--config-file", str(tiny[0]), "--weights", str(tiny[1])]
    given += ["--folder", str(folder), "--output", str(output)]
    with pytest.raises(OSError, match=r"cannot read image .*0000\.jpg"):
        tool.main(tool.parse(given))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops"]
    tool.main(tool.parse([*given, "--skip-unreadable", "--flip", "--device", "cpu"]))
    result = read_features(output)
    assert result.features.shape == (9, 128)
    assert result.metadata["flip"] == "averaged with the mirrored image"
    shown = capsys.readouterr()
    assert "left out: cannot read image" in shown.err
    assert "features (9, 128), 1 unreadable images left out" in shown.out.splitlines()[-1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_features_of_the_cpu(tiny, gallery):
    on_cpu = FeatureExtractor(*tiny, device="cpu").folder(gallery)
    on_gpu = FeatureExtractor(*tiny, device="cuda").folder(gallery)
    np.testing.assert_allclose(on_gpu.features, on_cpu.features, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["heads.weight", "heads.part_head.weight", "b1_head.weight"], ids=["BoT", "BDB", "MGN"]
)
def test_classes_are_those_of_the_head_not_the_width_of_clips_projection(name, tmp_path):
    state = {name: torch.zeros(7, 4), "backbone.head.weight": torch.zeros(512, 768)}
    torch.save({"model": state}, tmp_path / "model.pth")
    cfg = load_config("", ["MODEL.DEVICE", "cpu"])
    assert description(cfg, cfg, tmp_path / "model.pth")["classes"] == "7"
