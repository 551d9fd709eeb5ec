"""Two stems and one trunk: each row takes the way of its modality."""

import copy

import pytest
import torch
import torchvision

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones.two_stream import STEMS, TwoStreamResNet
from fastreid_ext.modeling.build import build_backbone, build_model

NAME = "build_two_stream_resnet_backbone"


def configured(*more, depth="18x"):
    keys = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", NAME, "MODEL.BACKBONE.DEPTH", depth]
    keys += ["MODEL.BACKBONE.FEAT_DIM", 0, "MODEL.BACKBONE.PRETRAIN", False]
    return load_config("", [*keys, "MODEL.HEADS.NUM_CLASSES", 4, *more])


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    made = build_backbone(configured()).eval()
    with torch.no_grad():
        made.infrared.conv1.weight.mul_(-0.5)
    return made


def as_one_resnet(backbone, stem):
    """fastreid's ResNet with one of the stems."""
    cfg = configured().clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    one = build_backbone(cfg)
    tensors = {
        name.removeprefix(f"{stem}."): value for name, value in backbone.state_dict().items()
    }
    one.load_state_dict({name: tensors[name] for name in one.state_dict()})
    return one.eval()


def test_each_row_equals_the_resnet_of_its_modality(backbone):
    images = torch.rand(5, 3, 64, 32)
    modalities = torch.tensor([1, 0, 0, 1, 0])
    maps = backbone(images, modalities)
    for row, modality in enumerate(modalities.tolist()):
        one = as_one_resnet(backbone, STEMS[modality])
        torch.testing.assert_close(maps[row : row + 1], one(images[row : row + 1]))


@pytest.mark.parametrize("modality", [0, 1])
def test_rows_of_one_modality_alone(backbone, modality):
    images = torch.rand(3, 3, 64, 32)
    maps = backbone(images, torch.full((3,), modality))
    torch.testing.assert_close(maps, as_one_resnet(backbone, STEMS[modality])(images))


def test_running_statistics_are_of_the_own_modality(backbone):
    before = copy.deepcopy(backbone.state_dict())
    backbone.train()(torch.rand(2, 3, 64, 32), torch.tensor([1, 1]))
    after = backbone.state_dict()
    assert torch.equal(before["visible.bn1.running_mean"], after["visible.bn1.running_mean"])
    assert not torch.equal(before["infrared.bn1.running_mean"], after["infrared.bn1.running_mean"])


def test_non_local_blocks_are_used():
    backbone = build_backbone(configured("MODEL.BACKBONE.WITH_NL", True, depth="50x"))
    names = [name for name, _ in backbone.named_parameters() if name.startswith("NL_")]
    backbone(torch.rand(2, 3, 64, 32), torch.tensor([0, 1])).sum().backward()
    assert {name[:6] for name in names} == {"NL_2.0", "NL_2.1", "NL_3.0", "NL_3.1", "NL_3.2"}
    assert all(backbone.get_parameter(name).grad is not None for name in names)


def test_both_stems_get_the_weights_of_one_resnet(tmp_path):
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    keys = ["MODEL.BACKBONE.PRETRAIN", True]
    keys += ["MODEL.BACKBONE.PRETRAIN_PATH", str(tmp_path / "resnet18.pth")]
    loaded = build_backbone(configured(*keys)).state_dict()
    source = network.state_dict()
    for name in ("conv1.weight", "bn1.weight", "bn1.running_var"):
        for stem in STEMS:
            assert torch.equal(loaded[f"{stem}.{name}"], source[name])
    assert torch.equal(loaded["layer4.1.conv2.weight"], source["layer4.1.conv2.weight"])
    assert len(loaded) == len(source) - 2 + 6  # without fc, with a second stem


def test_own_checkpoint_keeps_its_two_stems(tmp_path, backbone):
    tensors = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"model": tensors | {"heads.x": torch.zeros(1)}}, tmp_path / "model.pth")
    keys = ["MODEL.BACKBONE.PRETRAIN", True]
    keys += ["MODEL.BACKBONE.PRETRAIN_PATH", str(tmp_path / "model.pth")]
    loaded = build_backbone(configured(*keys)).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in backbone.state_dict().items())


def test_model_takes_modalities_from_the_batch():
    model = build_model(configured()).eval()
    with torch.no_grad():
        model.backbone.infrared.conv1.weight.mul_(-0.5)
        image = torch.rand(1, 3, 64, 32) * 255
        images = image.repeat(2, 1, 1, 1)
        features = model({"images": images, "modalities": torch.tensor([0, 1])})
    assert not torch.allclose(features[0], features[1])


def test_model_refuses_a_batch_without_modalities():
    model = build_model(configured())
    with pytest.raises(ValueError, match="expected a batch with 'modalities'"):
        model({"images": torch.zeros(1, 3, 64, 32)})


@pytest.mark.parametrize(
    ("modalities", "message"),
    [([0], "a modality for each of 2 images, got"), ([0, 2], r"visible\) and 1 .*got \[0, 2\]")],
)
def test_wrong_modalities(backbone, modalities, message):
    with pytest.raises(ValueError, match=message):
        backbone(torch.zeros(2, 3, 64, 32), torch.tensor(modalities))


def test_unknown_modality_is_visible_with_a_warning(backbone, caplog):
    images = torch.rand(2, 3, 64, 32)
    maps = backbone(images)
    torch.testing.assert_close(maps, backbone(images, torch.zeros(2)))
    assert "takes all of them for visible" in caplog.text
    assert isinstance(backbone, TwoStreamResNet)
