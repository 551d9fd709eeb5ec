"""Files that are weights, but not of this backbone: clear errors, and the backbone as it was."""

import pytest
import torch
import torchvision


def test_misfit_of_another_architecture(tmp_path, load, backbone_of):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet.pth")
    backbone = backbone_of("build_swin_backbone", "tiny")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    message = (
        r"does not fit the backbone \(SwinBackbone\): it looks like a ResNet .*got 0%.*nothing"
    )
    with pytest.raises(ValueError, match=message):
        load(backbone, tmp_path / "resnet.pth", min_matched=0.0)
    after = backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


R18 = ("build_resnet_backbone", "18x")


@pytest.fixture
def resnet_state():
    return torchvision.models.resnet18().state_dict()


def test_misfit_of_renamed_keys(tmp_path, load, backbone_of, resnet_state):
    renamed = {name.replace("layer", "stage"): value for name, value in resnet_state.items()}
    torch.save(renamed, tmp_path / "renamed.pth")
    with pytest.raises(
        ValueError, match=r"got 6%: 6 matched; 95 missing \(layer1.*unexpected \(stage"
    ):
        load(backbone_of(*R18), tmp_path / "renamed.pth")


def test_misfit_leaves_the_backbone_unchanged(tmp_path, load, backbone_of, resnet_state):
    wide = {
        name: value.repeat(2, *[1] * (value.ndim - 1)) if value.ndim else value
        for name, value in resnet_state.items()
        if name.startswith("layer4") or name == "conv1.weight"
    }
    torch.save({**resnet_state, **wide}, tmp_path / "wide.pth")
    backbone = backbone_of(*R18)
    before = backbone.layer1[0].conv1.weight.clone()
    with pytest.raises(ValueError, match=r"reshaped \(conv1\.weight \(128, 3, 7, 7\) -> \(64, 3"):
        load(backbone, tmp_path / "wide.pth")
    assert torch.equal(backbone.layer1[0].conv1.weight, before)
    report = load(backbone, tmp_path / "wide.pth", min_matched=0.5)
    assert "conv1.weight (128, 3, 7, 7) -> (64, 3, 7, 7)" in report.reshaped
    assert torch.equal(backbone.layer1[0].conv1.weight, resnet_state["layer1.0.conv1.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_misfit_of_nan(value, tmp_path, load, backbone_of, resnet_state):
    resnet_state["layer2.0.bn1.weight"][3] = value
    torch.save(resnet_state, tmp_path / "diverged.pth")
    with pytest.raises(ValueError, match=r"hold NaN or infinite values \(layer2\.0\.bn1\.weight\)"):
        load(backbone_of(*R18), tmp_path / "diverged.pth")


def test_misfit_of_the_named_family(tmp_path, load, backbone_of, resnet_state):
    torch.save(resnet_state, tmp_path / "resnet.pth")
    message = (
        r"expected a SOLIDER Swin .*but the names in the file are those of a ResNet .*'resnet'"
    )
    with pytest.raises(ValueError, match=message):
        load(backbone_of(*R18), tmp_path / "resnet.pth", family="solider")
    with pytest.raises(ValueError, match=r"unknown name 'resnett'.*did you mean 'resnet'"):
        load(backbone_of(*R18), tmp_path / "resnet.pth", family="resnett")
