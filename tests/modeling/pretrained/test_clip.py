"""The image towers of OpenAI, open_clip and transformers compute what they did."""

import functools
import warnings

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from timm.models.vision_transformer import VisionTransformer
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

from fastreid_ext.modeling.backbones.vit import (
    SIZES,
    ClipViTBackbone,
    ViTBackbone,
    ViTSize,
    resized_position_embedding,
)

SIZE = ViTSize(64, 2, 1)  # OpenAI's and open_clip's heads have 64 channels
WIDTH = 16
CLIP_MEAN = {
    "pixel_mean": [122.771, 116.746, 104.094],
    "pixel_std": [68.5, 66.632, 70.323],
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "image_size": 48,
    "patch_size": 16,
    "projection_dim": WIDTH,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture
def square():
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def backbone_of(image_size=(48, 48), quick_gelu=True, projection=WIDTH):
    torch.manual_seed(0)
    return ClipViTBackbone(
        SIZE, image_size=image_size, quick_gelu=quick_gelu, projection=projection
    ).eval()


def open_clip_of(quick_gelu):
    text = CLIPTextCfg(context_length=8, vocab_size=50, width=64, heads=1, layers=1)
    vision = CLIPVisionCfg(layers=2, width=64, patch_size=16, image_size=48)
    return CLIP(WIDTH, vision, text, quick_gelu=quick_gelu)


def transformers_of(**changes):
    return CLIPModel(
        CLIPConfig(text_config=TEXT, vision_config={**VISION, **changes}, projection_dim=WIDTH)
    )


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_open_clip_computes_equal_features(quick_gelu, tmp_path, randomised, load, square):
    network = randomised(open_clip_of(quick_gelu))
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, tmp_path / "open_clip.pt")
    backbone = backbone_of(quick_gelu=quick_gelu)
    report = load(backbone, tmp_path / "open_clip.pt", **CLIP_MEAN)
    assert report.family == "clip"
    assert [*report.missing, *report.unexpected, *report.reshaped] == []
    assert {"token_embedding.weight", "logit_scale"} <= set(report.dropped)
    torch.testing.assert_close(backbone(square)[:, :, 0, 0], network.encode_image(square))
    (warning,) = report.warnings  # nothing in the file tells
    assert f"MODEL.BACKBONE.QUICK_GELU {not quick_gelu}" in warning


def test_openai_torchscript_is_read_without_running_it(tmp_path, randomised, load, square):
    """OpenAI's files: a traced model, half precision, with three numbers as buffers."""
    network = randomised(open_clip_of(quick_gelu=True))
    for name, value in (("input_resolution", 48), ("context_length", 8), ("vocab_size", 50)):
        vars(network).pop(name, None)
        network.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated
        texts = torch.zeros(2, 8, dtype=torch.long)
        traced = torch.jit.trace(network, (square, texts), check_trace=False)
        for parameter in traced.parameters():
            parameter.data = parameter.data.half()
        torch.jit.save(traced, tmp_path / "ViT-B-16.pt")
    backbone = backbone_of()
    report = load(backbone, tmp_path / "ViT-B-16.pt", **CLIP_MEAN)
    assert [*report.missing, *report.unexpected, *report.warnings] == []
    assert report.activation == "quick_gelu"
    assert {value.dtype for value in backbone.state_dict().values()} == {torch.float32}
    expected = randomised(open_clip_of(quick_gelu=True)).half().float().encode_image(square)
    torch.testing.assert_close(backbone(square)[:, :, 0, 0], expected)
    (warning,) = load(backbone_of(quick_gelu=False), tmp_path / "ViT-B-16.pt", **CLIP_MEAN).warnings
    assert "trained with quick_gelu, the backbone computes gelu" in warning
    assert "MODEL.BACKBONE.QUICK_GELU True" in warning


def test_activation_of_a_timm_model_needs_another_name(tmp_path, randomised, load):
    """build_timm_backbone does not read QUICK_GELU."""
    randomised(transformers_of()).save_pretrained(tmp_path)  # quick GELU
    backbone = VisionTransformer(
        img_size=48,
        embed_dim=64,
        depth=2,
        num_heads=1,
        num_classes=0,
        pre_norm=True,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-5),
    )
    (warning,) = load(backbone, tmp_path, **CLIP_MEAN, min_matched=0.8).warnings
    assert (
        "with quick_gelu, the backbone computes gelu; take timm's model with quickgelu" in warning
    )


def test_open_clip_with_a_timm_tower_computes_equal_features(tmp_path, randomised, load):
    text = CLIPTextCfg(context_length=8, vocab_size=50, width=64, heads=1, layers=1)
    vision = CLIPVisionCfg(
        timm_model_name="vit_tiny_patch16_224", timm_pool="token", timm_proj="linear"
    )
    network = randomised(CLIP(WIDTH, vision, text))
    torch.save(network.state_dict(), tmp_path / "open_clip.pt")
    backbone = ViTBackbone(SIZES["tiny"], image_size=(224, 224), projection=WIDTH).eval()
    report = load(backbone, tmp_path / "open_clip.pt", **CLIP_MEAN)
    assert report.family == "clip"
    assert [*report.missing, *report.unexpected, *report.reshaped, *report.warnings] == []
    images = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(backbone(images)[:, :, 0, 0], network.encode_image(images))


@pytest.mark.parametrize("kind", ["whole", "projected"])
def test_transformers_folder_computes_equal_features(kind, tmp_path, randomised, load, square):
    network = transformers_of()
    if kind == "projected":
        network = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION))
    randomised(network).save_pretrained(tmp_path)
    backbone = backbone_of()
    report = load(backbone, tmp_path, **CLIP_MEAN)
    assert [*report.missing, *report.unexpected, *report.warnings] == []
    assert report.activation == "quick_gelu"  # from config.json
    vision = network.vision_model(square).pooler_output
    torch.testing.assert_close(backbone(square)[:, :, 0, 0], network.visual_projection(vision))


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_vision_model_leaves_the_projection_random(prefix, tmp_path, randomised, load, square):
    """transformers 5 writes flat names, earlier ones ``vision_model.``, with the positions' ids."""
    network = randomised(CLIPVisionModel(CLIPVisionConfig(**VISION, hidden_act="gelu")))
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    state[f"{prefix}embeddings.position_ids"] = torch.arange(10)[None]
    torch.save(state, tmp_path / "vision.bin")
    backbone = backbone_of(quick_gelu=False)
    report = load(backbone, tmp_path / "vision.bin", **CLIP_MEAN)
    assert report.matching.new == ["head.weight"]
    assert [*report.missing, *report.unexpected] == []
    (projection,) = [warning for warning in report.warnings if "projection" in warning]
    assert "projection to 16 channels in the file, got none, so that of the backbone" in projection
    backbone.head = torch.nn.Identity()
    torch.testing.assert_close(backbone(square)[:, :, 0, 0], network(square).pooler_output)


def test_projection_of_another_width_is_a_warning(tmp_path, randomised, load):
    randomised(transformers_of()).save_pretrained(tmp_path)
    report = load(backbone_of(projection=2 * WIDTH), tmp_path, **CLIP_MEAN)
    (warning,) = report.warnings
    assert "expected CLIP's projection to 32 channels in the file, got one to 16" in warning


def test_position_embedding_is_resized_bilinearly(tmp_path, randomised, load):
    network = randomised(transformers_of())
    network.save_pretrained(tmp_path)
    backbone = backbone_of(image_size=(64, 32))
    report = load(backbone, tmp_path, **CLIP_MEAN)
    (line,) = report.reshaped
    assert line == "pos_embed: (1, 10, 64) -> (1, 9, 64) for a grid of 4 x 2 patches, bilinear"
    square = network.vision_model.embeddings.position_embedding.weight[None]
    wanted = resized_position_embedding(square, (4, 2), mode="bilinear")
    torch.testing.assert_close(backbone.pos_embed, wanted)


def test_normalisation_of_imagenet_is_a_warning(tmp_path, randomised, load):
    randomised(transformers_of()).save_pretrained(tmp_path)
    (warning,) = load(backbone_of(), tmp_path).warnings
    assert "are not what these weights were trained with, CLIP's normalisation" in warning
    assert 'MODEL.PIXEL_MEAN "[122.771,116.746,104.094]"' in warning


def test_normalisation_of_clip_reid_is_half(tmp_path, randomised, load, square):
    """Its configurations set PIXEL_MEAN and PIXEL_STD to 0.5, not CLIP's."""
    network = randomised(open_clip_of(quick_gelu=True))
    weights = {
        f"image_encoder.{name}": value for name, value in network.visual.state_dict().items()
    }
    weights |= {"bottleneck.weight": torch.ones(64), "prompt_learner.cls_ctx": torch.ones(5, 4, 32)}
    torch.save(weights, tmp_path / "clip_reid.pth")
    half = {"pixel_mean": [127.5] * 3, "pixel_std": [127.5] * 3}
    backbone = backbone_of()
    report = load(backbone, tmp_path / "clip_reid.pth", **half)
    assert report.family == "clip"
    assert not any("normalisation" in warning for warning in report.warnings)
    torch.testing.assert_close(backbone(square)[:, :, 0, 0], network.encode_image(square))
    report = load(backbone_of(), tmp_path / "clip_reid.pth", **CLIP_MEAN)
    assert any('MODEL.PIXEL_MEAN "[127.5,127.5,127.5]"' in warning for warning in report.warnings)


def test_clip_refuses_a_text_tower_alone(tmp_path, load):
    CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(tmp_path / "flat")
    backbone = backbone_of()
    with pytest.raises(
        ValueError, match=r"flat.*: .*got the text tower only .*give the whole CLIP"
    ):
        load(backbone, tmp_path / "flat")
    state = {
        name: value
        for name, value in transformers_of().state_dict().items()
        if name.startswith(("text_model.", "text_projection"))
    }
    torch.save(state, tmp_path / "text.pth")
    with pytest.raises(ValueError, match="got the text tower only"):
        load(backbone, tmp_path / "text.pth")


def test_clip_refuses_a_resnet(tmp_path, load):
    text = CLIPTextCfg(context_length=8, vocab_size=50, width=64, heads=1, layers=1)
    vision = CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, image_size=32)
    torch.save(CLIP(WIDTH, vision, text).state_dict(), tmp_path / "rn.pt")
    with pytest.raises(ValueError, match="that is a ViT, got a ResNet"):
        load(backbone_of(), tmp_path / "rn.pt")
