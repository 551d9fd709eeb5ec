"""Checkpoints of fastreid and of our runs give their backbone to another run."""

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.config import load_config
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.modeling.domain_batch_norm import separate_domains

R18 = [
    *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_resnet_backbone"),
    *("MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", "512"),
    *("MODEL.HEADS.NUM_CLASSES", "5", "INPUT.SIZE_TRAIN", "[96, 32]"),
]


def model_of(*changes):
    torch.manual_seed(3)
    return build_model(load_config("", [*R18, *map(str, changes)])).eval()


def test_checkpoint_gives_its_backbone(tmp_path, randomised, images, load, backbone_of):
    model = randomised(model_of())
    AtomicCheckpointer(model, str(tmp_path)).save("model_final", epoch=1)
    backbone = backbone_of("build_resnet_backbone", "18x")
    report = load(backbone, tmp_path / "model_final.pth")
    assert report.family == "fastreid"
    assert [*report.missing, *report.unexpected] == []
    assert "heads.weight" in report.dropped
    torch.testing.assert_close(backbone(images), model.backbone(images))
    assert not report.warnings
    assert report.normalisation is None  # no config.yaml beside it


def test_adapted_checkpoint_gives_the_backbone_of_its_target(tmp_path, load, backbone_of):
    model = model_of()
    separate_domains(model, group=0, domains_of=lambda name: 3)
    with torch.no_grad():
        model.backbone.bn1.source.weight.fill_(7.0)
        model.backbone.bn1.weight.fill_(3.0)
    AtomicCheckpointer(model, str(tmp_path)).save("model_final")
    backbone = backbone_of("build_resnet_backbone", "18x")
    report = load(backbone, tmp_path / "model_final.pth")
    assert [*report.missing, *report.unexpected] == []
    assert "backbone.bn1.source.weight" in report.dropped
    assert (backbone.bn1.weight == 3).all()


def test_checkpoint_normalisation_is_read_from_its_run(tmp_path, load, backbone_of):
    model = model_of()
    AtomicCheckpointer(model, str(tmp_path)).save("model_final")
    cfg = load_config("", [*R18, "MODEL.PIXEL_MEAN", "[127.5,127.5,127.5]"])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    backbone = backbone_of("build_resnet_backbone", "18x")
    report = load(backbone, tmp_path / "model_final.pth")
    (warning,) = report.warnings
    assert "are not what these weights were trained with" in warning
    assert 'MODEL.PIXEL_MEAN "[127.5,127.5,127.5]" MODEL.PIXEL_STD' in warning


def test_mgn_checkpoint_is_joined_from_one_branch(tmp_path, randomised, images, load, backbone_of):
    mgn = randomised(
        model_of(
            *("MODEL.META_ARCHITECTURE", "MGN", "MODEL.BACKBONE.DEPTH", "50x"),
            *("MODEL.BACKBONE.FEAT_DIM", 2048),
        )
    )
    torch.save({"model": mgn.state_dict()}, tmp_path / "mgn.pth")
    backbone = backbone_of("build_resnet_backbone", "50x")
    report = load(backbone, tmp_path / "mgn.pth")
    assert report.family == "fastreid"
    assert [*report.missing, *report.unexpected] == []
    assert any("global branch" in note for note in report.notes)
    torch.testing.assert_close(backbone(images), mgn.b1(mgn.backbone(images)))


def test_mgn_checkpoint_of_a_backbone_that_splits_itself(tmp_path, randomised, load, backbone_of):
    keys = ("build_swin_backbone", "tiny", "SEMANTIC_WEIGHT", 0.2)
    overrides = ["MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "MGN"]
    overrides += ["MODEL.BACKBONE.NAME", keys[0], "MODEL.BACKBONE.DEPTH", keys[1]]
    overrides += ["MODEL.BACKBONE.SEMANTIC_WEIGHT", "0.2", "MODEL.BACKBONE.FEAT_DIM", "0"]
    overrides += ["MODEL.HEADS.NUM_CLASSES", "5", "INPUT.SIZE_TRAIN", "[192, 64]"]
    overrides += ["INPUT.SIZE_TEST", "[192, 64]"]
    mgn = randomised(build_model(load_config("", overrides)))
    torch.save({"model": mgn.state_dict()}, tmp_path / "mgn.pth")
    backbone = backbone_of(*keys)
    report = load(backbone, tmp_path / "mgn.pth")
    assert [*report.missing, *report.unexpected, *report.matching.new] == []
    assert "b2.norm.weight" in report.dropped
    images = torch.randn(1, 3, 192, 64)
    torch.testing.assert_close(backbone(images), mgn.b1(mgn.backbone(images)))


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_other_backbones_load_by_their_own_names(
    prefix, tmp_path, randomised, images, load, backbone_of
):
    keys = ("build_osnet_backbone", "x0_25")
    network = randomised(backbone_of(*keys))
    state = {prefix + name: value for name, value in network.state_dict().items()}
    state["module.classifier.weight" if prefix else "classifier.weight"] = torch.ones(5, 512)
    torch.save(state, tmp_path / "osnet.pth")
    backbone = backbone_of(*keys)
    report = load(backbone, tmp_path / "osnet.pth")
    assert report.family == "same"
    assert len(report.dropped) == 1
    assert report.dropped[0].endswith("classifier.weight")
    assert [*report.missing, *report.unexpected] == []
    torch.testing.assert_close(backbone(images), network(images))


def test_every_architecture_loads_its_backbone(tmp_path, randomised):
    import torchvision

    network = randomised(torchvision.models.resnet18())
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = model_of(
        "MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", tmp_path / "weights.pth"
    )
    assert torch.equal(model.backbone.layer4[1].conv2.weight, network.layer4[1].conv2.weight)
