import cv2
import numpy as np
import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.deploy.filter_models import filter_models
from fastreid_ext.deploy.identity_classifier import IdentityClassifier
from fastreid_ext.deploy.load import fingerprint_of, ready_config, ready_model

PERSONS = (2, 10, 7)  # sorted as texts: 10, 2, 7


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    folder = root / "bounding_box_train"
    folder.mkdir()
    for person in PERSONS:
        for number in range(2):
            image = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{person:04d}_c1s1_{number:06d}_00.png"), image)
    return root


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (64, 32, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture
def overrides(photographs):
    return ["DATASETS.NAMES", "('PersonFolder',)", "DATASETS.FOLDER", str(photographs)]


def tensors(images):
    return torch.stack([torch.tensor(image).permute(2, 0, 1).float() for image in images])


def by_hand(config, weights, images, classifier_of):
    """Softmax of the product of test features with the rows of the classifier."""
    model = ready_model(ready_config(config), weights)
    features = model({"images": tensors(images)})
    return classifier_of(model, features).softmax(dim=1).numpy()


def test_probabilities_are_the_softmax_of_the_classifier(save_model, images, overrides):
    config, weights = save_model(classes=3)
    found = IdentityClassifier(config, weights, overrides=overrides)(images)
    expected = by_hand(
        config, weights, images, lambda model, x: x @ torch.load(weights)["model"]["heads.weight"].T
    )
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_cosine_classifiers_are_scaled_and_have_no_margin(save_model, images, overrides):
    scale = 16
    config, weights = save_model(
        classes=3, MODEL__HEADS__CLS_LAYER="ArcSoftmax", MODEL__HEADS__SCALE=scale
    )

    def cosines(model, features):
        rows = torch.load(weights)["model"]["heads.weight"]
        unit = torch.nn.functional.normalize
        return scale * unit(features) @ unit(rows).T

    found = IdentityClassifier(config, weights, overrides=overrides)(images)
    np.testing.assert_allclose(found, by_hand(config, weights, images, cosines), atol=1e-5)


def test_several_classifiers_are_averaged(save_model, images, overrides):
    config, weights = save_model(
        classes=3,
        MODEL__META_ARCHITECTURE="BDB",
        MODEL__HEADS__NAME="BDBHead",
        MODEL__HEADS__WITH_BNNECK="False",
        MODEL__LOSSES__NAME="('CrossEntropyLoss','TripletLoss')",
        DATALOADER__SAMPLER_TRAIN="NaiveIdentitySampler",
    )
    found = IdentityClassifier(config, weights, overrides=overrides)(images)
    state = torch.load(weights)["model"]

    def mean(model, features):
        parts = features.split([512, features.shape[1] - 512], dim=1)
        logits = [
            part @ state[f"heads.{name}_head.weight"].T + state[f"heads.{name}_head.bias"]
            for name, part in zip(("global", "part"), parts, strict=True)
        ]
        return torch.stack([part.softmax(dim=1) for part in logits]).mean(dim=0).log()

    np.testing.assert_allclose(found, by_hand(config, weights, images, mean), atol=1e-5)


def test_the_order_of_the_classes_is_that_of_the_training(save_model, overrides):
    from fastreid_ext.data.build import build_train_loader

    config, weights = save_model(classes=3)
    classifier = IdentityClassifier(config, weights, overrides=overrides)
    assert classifier.identities == ["personfolder_10", "personfolder_2", "personfolder_7"]
    keys = ["SOLVER.IMS_PER_BATCH", "6", "DATALOADER.SAMPLER_TRAIN", "TrainingSampler"]
    keys += ["DATALOADER.NUM_WORKERS", "0"]
    loader = build_train_loader(load_config(config, [*overrides, *keys]))
    batch = next(iter(loader))
    for path, target in zip(batch["img_paths"], batch["targets"].tolist(), strict=True):
        person = int(path.rpartition("/")[2][:4])
        assert classifier.identities[target] == f"personfolder_{person}"


def test_the_model_stays_in_evaluation_mode(save_model, images, overrides):
    config, weights = save_model(classes=3)
    classifier = IdentityClassifier(config, weights, overrides=overrides)
    first = classifier(images)
    np.testing.assert_array_equal(classifier(images), first)
    np.testing.assert_allclose(classifier(images[:1]), first[:1], atol=1e-6)


def test_no_image_no_probability(save_model, overrides):
    config, weights = save_model(classes=3)
    assert IdentityClassifier(config, weights, overrides=overrides)([]).shape == (0, 3)


def test_a_checkpoint_of_other_identities(save_model, overrides):
    config, weights = save_model(classes=5)
    with pytest.raises(
        ValueError, match=r"tells 5 identities apart.*\(PersonFolder\) show 3; give the config.yaml"
    ):
        IdentityClassifier(config, weights, overrides=overrides)


def test_a_checkpoint_without_a_classifier(save_model, overrides, tmp_path):
    config, weights = save_model(classes=3)
    state = torch.load(weights)["model"]
    del state["heads.weight"]
    torch.save({"model": state}, tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match=r"backbone.pth holds no classifier of identities"):
        IdentityClassifier(config, tmp_path / "backbone.pth", overrides=overrides)


def test_models_of_a_configuration(save_model, images, overrides):
    config, weights = save_model(classes=3)
    keys = [*overrides, "MODEL.DEVICE", "cpu", "GENERATION.FILTER.BATCH_SIZE", "3"]
    for name in ("REID", "CCTF"):
        keys += [f"GENERATION.FILTER.{name}.CONFIG_FILE", str(config)]
        keys += [f"GENERATION.FILTER.{name}.WEIGHTS", str(weights)]
    models = filter_models(load_config("", keys))
    assert list(models) == ["reid", "cctf"]
    assert models["reid"][1]()(images).shape == (5, 128)
    assert filter_models(load_config("", keys))["reid"][0] == models["reid"][0]


def test_no_filter_needs_no_model(overrides):
    keys = ["MODEL.DEVICE", "cpu", "GENERATION.FILTER.USE", "[]"]
    assert filter_models(load_config("", [*overrides, *keys])) == {}


def test_a_filter_without_a_model(overrides):
    with pytest.raises(ValueError, match=r"USE is \['reid'\], but .*REID.WEIGHTS is empty; train"):
        filter_models(load_config("", [*overrides, "MODEL.DEVICE", "cpu"]))


def test_a_missing_checkpoint_of_a_filter(save_model, overrides, tmp_path):
    config, _ = save_model(classes=3)
    keys = ["GENERATION.FILTER.REID.CONFIG_FILE", str(config)]
    keys += ["GENERATION.FILTER.REID.WEIGHTS", str(tmp_path / "none.pth")]
    with pytest.raises(ValueError, match=r"no file at .*none.pth \(GENERATION.FILTER.REID.WEIGHTS"):
        filter_models(load_config("", [*overrides, "MODEL.DEVICE", "cpu", *keys]))


def test_a_damaged_checkpoint_of_a_filter(save_model, overrides, tmp_path):
    config, weights = save_model(classes=3)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(weights.read_bytes()[:-1000])
    keys = ["GENERATION.FILTER.REID.CONFIG_FILE", str(config)]
    keys += ["GENERATION.FILTER.REID.WEIGHTS", str(cut)]
    with pytest.raises(ValueError, match=r"cannot read checkpoint .*cut\.pth"):
        filter_models(load_config("", [*overrides, "MODEL.DEVICE", "cpu", *keys]))


def test_a_filter_model_of_other_persons_is_said(save_model, overrides, caplog):
    config, weights = save_model(classes=3)
    keys = [*overrides, "MODEL.DEVICE", "cpu", "GENERATION.FILTER.REID.WEIGHTS", str(weights)]
    keys += ["GENERATION.FILTER.REID.CONFIG_FILE", str(config)]
    folder = keys.index("DATASETS.FOLDER")  # which the two public sets do not read
    both = [*keys[:folder], *keys[folder + 2 :], "DATASETS.NAMES", "('MSMT17', 'Market1501')"]
    filter_models(load_config("", both))
    assert not caplog.text
    filter_models(load_config("", keys))
    assert "FILTER.REID was trained on Market1501 by its CONFIG_FILE, the identities" in caplog.text


def test_the_fingerprint_needs_the_checkpoint(save_model, tmp_path):
    cfg = ready_config(save_model(classes=3)[0])
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none.pth; give a file"):
        fingerprint_of(cfg, tmp_path / "none.pth")
