"""ViTs of timm, DeiT, DINO and fastreid load, with position embeddings for other image sizes."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from fastreid_ext.modeling.backbones.vit import ViTBackbone, ViTSize, resized_position_embedding

SIZE = ViTSize(24, 2, 2)


def backbone_of(image_size=(64, 32), **changes):
    torch.manual_seed(0)
    return ViTBackbone(SIZE, image_size=image_size, tokens="patch", **changes).eval()


def timm_vit(image_size=(64, 32), **changes):
    return VisionTransformer(
        img_size=image_size, embed_dim=24, depth=2, num_heads=2, num_classes=5, **changes
    )


def as_map(tokens, grid):
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)


def test_vit_of_timm_computes_equal_features(tmp_path, randomised, images, load):
    network = randomised(timm_vit())
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    backbone = backbone_of()
    report = load(backbone, tmp_path / "vit.pth")
    assert report.family == "vit"
    assert [*report.missing, *report.unexpected, *report.reshaped] == []
    assert report.dropped == ["head.weight", "head.bias"]
    torch.testing.assert_close(backbone(images), as_map(network.forward_features(images), (4, 2)))
    (warning,) = report.warnings
    assert "usually trained with 0.5 normalisation, some with ImageNet's" in warning


def test_position_embedding_of_a_square_grid_is_resized(tmp_path, randomised, images, load):
    network = randomised(timm_vit(image_size=48))
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    backbone = backbone_of()
    report = load(backbone, tmp_path / "vit.pth")
    assert report.reshaped == [
        "pos_embed: (1, 10, 24) -> (1, 9, 24) for a grid of 4 x 2 patches, bicubic"
    ]
    expected = randomised(timm_vit())
    state = network.state_dict()
    state["pos_embed"] = resized_position_embedding(state["pos_embed"], (4, 2))
    expected.load_state_dict(state)
    torch.testing.assert_close(backbone(images), as_map(expected.forward_features(images), (4, 2)))


def test_position_embedding_of_a_run_is_resized(tmp_path, randomised, load):
    network = randomised(backbone_of(image_size=(64, 32)))
    state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": {**state, "heads.weight": torch.ones(5, 24)}}, tmp_path / "model.pth")
    backbone = backbone_of(image_size=(96, 48))
    with pytest.raises(
        ValueError, match=r"model\.pth: expected a position .*got 8 patches; put the config\.yaml"
    ):
        load(backbone, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(
        "MODEL: {PIXEL_MEAN: [123.675, 116.28, 103.53], PIXEL_STD: [58.395, 57.12, 57.375]}\n"
        "INPUT: {SIZE_TRAIN: [64, 32]}\n"
    )
    report = load(backbone, tmp_path / "model.pth")
    assert report.warnings == []
    wanted = resized_position_embedding(network.pos_embed, (6, 3), old_grid=(4, 2))
    torch.testing.assert_close(backbone.pos_embed, wanted)


def test_deit_loses_its_distillation_token(tmp_path, randomised, images, load):
    deit = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=(64, 32), embed_dim=24, depth=2, num_heads=2
    )
    torch.save({"model": randomised(deit).state_dict()}, tmp_path / "deit.pth")
    backbone = backbone_of()
    report = load(backbone, tmp_path / "deit.pth")
    assert [*report.missing, *report.unexpected, *report.warnings] == []
    assert {"dist_token", "head_dist.weight"} <= set(report.dropped)
    plain = randomised(timm_vit())
    state = {name: deit.state_dict()[name] for name in backbone.state_dict()} | {
        "pos_embed": deit.pos_embed[:, [0, *range(2, 10)]],
        "head.weight": torch.ones(5, 24),
        "head.bias": torch.ones(5),
    }
    plain.load_state_dict(state)
    torch.testing.assert_close(backbone(images), as_map(plain.forward_features(images), (4, 2)))


def test_dino_gives_its_teacher(tmp_path, randomised, images, load):
    network = randomised(timm_vit())
    teacher = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    student = {f"module.{name}": value + 1 for name, value in teacher.items()}
    torch.save({"student": student, "teacher": teacher}, tmp_path / "dino.pth")
    backbone = backbone_of()
    report = load(backbone, tmp_path / "dino.pth")
    assert report.warnings == []
    torch.testing.assert_close(backbone(images), as_map(network.forward_features(images), (4, 2)))


def test_vit_of_flat_filters_is_reshaped(tmp_path, randomised, images, load):
    network = randomised(timm_vit())
    state = network.state_dict()
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)
    torch.save(state, tmp_path / "old.pth")
    backbone = backbone_of()
    report = load(backbone, tmp_path / "old.pth")
    assert report.reshaped == ["patch_embed.proj.weight: (24, 768) -> (24, 3, 16, 16)"]
    torch.testing.assert_close(backbone(images), as_map(network.forward_features(images), (4, 2)))


def test_vit_of_fastreid_loads_timms(tmp_path, randomised, images, load):
    from fastreid.modeling.backbones.vision_transformer import VisionTransformer as HostViT

    network = randomised(timm_vit(image_size=48))
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    backbone = HostViT(
        img_size=(64, 32), embed_dim=24, depth=2, num_heads=2, qkv_bias=True, camera=3
    )
    report = load(backbone, tmp_path / "vit.pth")
    assert report.matching.new == ["sie_embed"]
    assert [*report.missing, *report.unexpected] == []
    backbone.cam_num = 0
    square = randomised(timm_vit())
    state = network.state_dict()
    state["pos_embed"] = resized_position_embedding(state["pos_embed"], (4, 2))
    square.load_state_dict(state)
    expected = square.forward_features(images)[:, 0, :, None, None]
    torch.testing.assert_close(backbone.eval()(images), expected)


def test_normalisation_of_transreid_is_half(tmp_path, randomised, load):
    """Its configurations set PIXEL_MEAN and PIXEL_STD to 0.5; DINO and MAE keep ImageNet's."""
    network = randomised(timm_vit())
    weights = {f"base.{name}": value for name, value in network.state_dict().items()}
    torch.save(weights, tmp_path / "encoder.pth")
    assert not load(backbone_of(), tmp_path / "encoder.pth").warnings
    weights |= {"bottleneck.weight": torch.ones(24), "classifier.weight": torch.ones(5, 24)}
    torch.save(weights, tmp_path / "transreid.pth")
    report = load(backbone_of(), tmp_path / "transreid.pth")
    (warning,) = report.warnings
    assert 'add to the command: MODEL.PIXEL_MEAN "[127.5,127.5,127.5]"' in warning
    half = {"pixel_mean": [127.5] * 3, "pixel_std": [127.5] * 3}
    assert not load(backbone_of(), tmp_path / "transreid.pth", **half).warnings
