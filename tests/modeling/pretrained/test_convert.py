"""Files of tools/convert_weights.py load again, whole, as members of their family."""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import torch
import torchvision
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fastreid_ext.modeling.backbones.swin import SwinBackbone, SwinSize
from fastreid_ext.modeling.backbones.vit import ClipViTBackbone, ViTSize
from fastreid_ext.modeling.pretrained import converted
from fastreid_ext.modeling.pretrained.convert import expect_target
from fastreid_ext.modeling.pretrained.normalisation import LUPERSON

TOOL = Path(__file__).resolve().parents[3] / "tools" / "convert_weights.py"
R18 = ("build_resnet_backbone", "18x")


def written(content, path):
    path.write_bytes(content)
    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.fixture
def moco(tmp_path, randomised):
    """File of LUPerson's kind, and its encoder."""
    encoder = randomised(torchvision.models.resnet18())
    state = {f"module.encoder_q.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "lup.pth")
    return tmp_path / "lup.pth", encoder


def test_convert_keeps_a_moco_and_a_given_normalisation(tmp_path, moco, load, backbone_of):
    path, encoder = moco
    content, first = converted(backbone_of(*R18), path, normalisation=LUPERSON)
    metadata = written(content, tmp_path / "lup.safetensors")
    assert metadata["family"] == "moco"
    assert metadata["source"] == "lup.pth"
    assert metadata["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    backbone = backbone_of(*R18)
    report = load(backbone, tmp_path / "lup.safetensors")
    assert report.family == "moco"
    assert [*report.missing, *report.unexpected, *report.dropped, *report.reshaped] == []
    assert report.matched == first.matched
    assert torch.equal(backbone.layer3[0].bn2.running_var, encoder.layer3[0].bn2.running_var)
    (warning,) = report.warnings
    assert "are not what these weights were trained with" in warning
    assert 'MODEL.PIXEL_MEAN "[89.887,79.203,80.07]"' in warning


def test_convert_keeps_grid_activation_and_normalisation_of_a_clip(tmp_path, randomised, load):
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            **{"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 1},
            **{"num_attention_heads": 2, "image_size": 48, "patch_size": 16, "projection_dim": 8},
            hidden_act="gelu",
        )
    )
    randomised(vision).save_pretrained(tmp_path / "folder")
    size = ViTSize(32, 1, 2)
    tall = ClipViTBackbone(size, image_size=(64, 32), projection=8, quick_gelu=False)
    content, first = converted(tall, tmp_path / "folder")
    assert first.resized == []  # the file keeps its square grid
    assert written(content, tmp_path / "clip.safetensors")["activation"] == "gelu"
    square = ClipViTBackbone(size, image_size=(48, 48), projection=8, quick_gelu=False)
    report = load(square, tmp_path / "clip.safetensors")
    assert report.family == "clip"
    assert [*report.missing, *report.unexpected, *report.dropped, *report.reshaped] == []
    theirs = vision.vision_model.embeddings.position_embedding.weight[None]
    assert torch.equal(square.pos_embed, theirs)
    assert report.normalisation.mean[0] == pytest.approx(0.48145466)
    (warning,) = report.warnings  # ImageNet's normalisation, and nothing about the activation
    assert "PIXEL_MEAN" in warning


def test_convert_keeps_the_normalisation_of_a_run(tmp_path, randomised, load, backbone_of):
    network = randomised(backbone_of(*R18))
    state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": {**state, "heads.weight": torch.ones(5, 512)}}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(
        "MODEL: {PIXEL_MEAN: [127.5, 127.5, 127.5], PIXEL_STD: [127.5, 127.5, 127.5]}\n"
        "INPUT: {SIZE_TRAIN: [64, 32]}\n"
    )
    content, _ = converted(backbone_of(*R18), tmp_path / "model.pth")
    (tmp_path / "elsewhere").mkdir()
    metadata = written(content, tmp_path / "elsewhere" / "backbone.safetensors")
    assert (metadata["family"], metadata["image_size"]) == ("fastreid", "[64, 32]")
    report = load(backbone_of(*R18), tmp_path / "elsewhere" / "backbone.safetensors")
    assert report.matching.share == 1
    assert report.normalisation.name == "0.5"
    assert len(report.warnings) == 1


def test_convert_keeps_a_solider(tmp_path, randomised, load):
    tiny = SwinSize(16, (1, 1, 1, 1), (1, 2, 4, 8))
    network = randomised(SwinBackbone(tiny, semantic_weight=0.3))
    state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    torch.save({"teacher": state}, tmp_path / "solider.pth")
    content, _ = converted(SwinBackbone(tiny, semantic_weight=0.3), tmp_path / "solider.pth")
    written(content, tmp_path / "solider.safetensors")
    backbone = SwinBackbone(tiny, semantic_weight=0.3)
    report = load(backbone, tmp_path / "solider.safetensors")
    assert (report.family, report.normalisation.name) == ("solider", "0.5")
    assert [*report.missing, *report.matching.new, *report.dropped] == []
    assert torch.equal(backbone.semantic_embed_b[2].bias, network.semantic_embed_b[2].bias)


def test_convert_writes_nothing_for_a_misfit(tmp_path, moco, backbone_of):
    with pytest.raises(ValueError, match="does not fit the backbone"):
        converted(backbone_of("build_swin_backbone", "tiny"), moco[0])


def test_tool_writes_a_file_and_a_report(tmp_path, moco, monkeypatch, capsys, load, backbone_of):
    target = tmp_path / "new" / "r18.safetensors"
    arguments = [str(moco[0]), str(target), "--normalisation", "luperson"]
    keys = ["MODEL.BACKBONE.DEPTH", "18x"]
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *arguments, *keys])
    spec = importlib.util.spec_from_file_location("convert_weights", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(tool.parse())
    lines = capsys.readouterr().out.splitlines()
    assert "a MoCo (LUPerson, Facebook); 120 tensors loaded, 100.0%" in lines[0]
    assert lines[-1].startswith("wrote 120 tensors, 42.7 MiB, to ")
    assert load(backbone_of(*R18), target).matching.share == 1


def test_expect_target_refuses_the_source_and_other_formats(tmp_path):
    with pytest.raises(ValueError, match=r"expected the name of a \.safetensors file to write"):
        expect_target(tmp_path / "r18.pth", tmp_path / "lup.pth")
    same = tmp_path / "folder" / ".." / "r18.safetensors"
    with pytest.raises(ValueError, match=r"is the source and would be overwritten"):
        expect_target(same, str(tmp_path / "r18.safetensors"))


@pytest.mark.slow
def test_tool_ends_with_one_line_for_a_mistake(tmp_path):
    (tmp_path / "page.pth").write_text("<!doctype html>")
    source = tmp_path / "page.pth"
    target = tmp_path / "o.safetensors"
    command = [sys.executable, str(TOOL), str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "is a web page" in result.stderr
    assert "Traceback" not in result.stderr
    assert not target.exists()
