"""ResNets of torchvision, timm, IBN-Net, MoCo and fastreid load, and compute what they did."""

import pytest
import timm
import torch
import torchvision
from torch import nn

NAME = "build_resnet_backbone"


def features(network, images):
    """The map of torchvision's ResNet, with fastreid's pooling: the one layer that differs."""
    network.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return torch.nn.Sequential(*list(network.children())[:-2])(images)


@pytest.mark.parametrize("depth", ["18x", "50x"])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_imagenet_resnet_computes_equal_features(
    library, depth, tmp_path, randomised, images, load, backbone_of
):
    name = f"resnet{depth[:-1]}"
    made = (
        getattr(torchvision.models, name)() if library == "torchvision" else timm.create_model(name)
    )
    network = randomised(made)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = backbone_of(NAME, depth, "LAST_STRIDE", 2)
    report = load(backbone, tmp_path / "weights.pth")
    assert report.family == "resnet"
    assert report.dropped == ["fc.weight", "fc.bias"]
    assert [*report.missing, *report.unexpected, *report.reshaped, *report.warnings] == []
    torch.testing.assert_close(backbone(images), features(network, images))


def test_imagenet_resnet_lists_new_layers(tmp_path, randomised, load, backbone_of):
    network = randomised(torchvision.models.resnet50())
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = backbone_of(NAME, "50x", "WITH_IBN", True, "WITH_NL", True)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    report = load(backbone, tmp_path / "weights.pth")
    kinds = {name.split(".")[0] for name in report.matching.new if name.startswith("NL")}
    assert kinds == {"NL_2", "NL_3"}
    in_blocks = [name for name in report.matching.new if not name.startswith("NL")]
    # 3 + 4 + 6 blocks, each with two parameters of IN, two parameters and two statistics of BN
    assert len(in_blocks) == 13 * 6
    assert "layer1.0.bn1.IN.weight" in in_blocks
    assert len([name for name in report.dropped if ".bn1." in name]) == 13 * 5
    assert report.matching.share == 1.0
    assert any("WITH_IBN" in text and "resnet50_ibn_a" in text for text in report.warnings)
    assert "in no such file, left as built (NL_2.0" in str(report)
    after = backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in report.matching.new)
    assert torch.equal(after["layer4.2.conv3.weight"], network.layer4[2].conv3.weight)
    # fastreid starts its non-local blocks as the identity
    assert not after["NL_2.0.W.1.weight"].any()


def test_ibn_net_file_has_the_instance_norms(tmp_path, randomised, images, load, backbone_of):
    """IBN-Net's resnet50_ibn_a names its layers as fastreid does; with a classifier."""
    keys = (NAME, "18x", "WITH_IBN", True)
    network = randomised(backbone_of(*keys))
    state = {**network.state_dict(), "fc.weight": torch.ones(5, 512), "fc.bias": torch.ones(5)}
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "a.pth"
    )
    backbone = backbone_of(*keys)
    report = load(backbone, tmp_path / "a.pth")
    assert [*report.missing, *report.matching.new, *report.unexpected] == []
    torch.testing.assert_close(backbone(images), network(images))


def test_resnet_refuses_a_deeper_network(tmp_path, load, backbone_of):
    """All of ResNet-18 is in a ResNet-34, in equal shape; its blocks mean something else there."""
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "deeper.pth")
    backbone = backbone_of(NAME, "18x")
    message = r"holds more than the backbone .*96 are unused \(layer1\.2.*BACKBONE\.DEPTH"
    with pytest.raises(ValueError, match=message):
        load(backbone, tmp_path / "deeper.pth")
    report = load(backbone, tmp_path / "deeper.pth", min_matched=0.5)
    assert len(report.unexpected) == 96


class MoCo(nn.Module):
    """The modules of MoCo v2: two encoders with a projection head, and a queue."""

    def __init__(self):
        super().__init__()
        self.encoder_q = torchvision.models.resnet18()
        self.encoder_k = torchvision.models.resnet18()
        for encoder in (self.encoder_q, self.encoder_k):
            encoder.fc = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))
        self.register_buffer("queue", torch.randn(128, 16))


def test_moco_loads_its_query_encoder(tmp_path, randomised, images, load, backbone_of):
    moco = randomised(MoCo())
    state = {f"module.{name}": value for name, value in moco.state_dict().items()}
    checkpoint = {"epoch": 3, "arch": "resnet18", "state_dict": state, "optimizer": {"state": {}}}
    torch.save(checkpoint, tmp_path / "lup_moco.pth")
    backbone = backbone_of(NAME, "18x", "LAST_STRIDE", 2)
    report = load(backbone, tmp_path / "lup_moco.pth")
    assert report.family == "moco"
    assert [*report.missing, *report.unexpected] == []
    assert {"queue", "encoder_q.fc.0.weight", "encoder_k.conv1.weight"} <= set(report.dropped)
    torch.testing.assert_close(backbone(images), features(moco.encoder_q, images))
    (warning,) = report.warnings
    assert "usually trained with LUPerson's normalisation, some with ImageNet's" in warning
    assert 'MODEL.PIXEL_MEAN "[89.887,79.203,80.07]"' in warning
    luperson = {"pixel_mean": [89.8875, 79.203, 80.07], "pixel_std": [67.83, 64.311, 63.8775]}
    assert not load(backbone, tmp_path / "lup_moco.pth", **luperson).warnings


def test_moco_encoder_without_prefix_needs_the_family(tmp_path, randomised, load, backbone_of):
    torch.save(randomised(torchvision.models.resnet18()).state_dict(), tmp_path / "lup_r18.pth")
    backbone = backbone_of(NAME, "18x")
    assert not load(backbone, tmp_path / "lup_r18.pth").warnings
    assert load(backbone, tmp_path / "lup_r18.pth", family="moco").warnings
