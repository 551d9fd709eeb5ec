"""Files of timm load into the same models as backbones."""

import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from fastreid_ext.modeling.backbones.timm_features import timm_backbone


def test_timm_model_loads_by_name(tmp_path, randomised, images, load):
    network = randomised(timm.create_model("convnext_atto", num_classes=5))
    torch.save(network.state_dict(), tmp_path / "convnext.pth")
    backbone = timm_backbone("convnext_atto", (64, 32)).eval()
    report = load(backbone, tmp_path / "convnext.pth")
    assert report.family == "same"
    assert [*report.missing, *report.unexpected, *report.reshaped, *report.warnings] == []
    assert report.dropped == ["head.fc.weight", "head.fc.bias"]
    assert report.normalisation.name == "timm's"
    torch.testing.assert_close(backbone(images), network.forward_features(images))


def test_timm_normalisation_is_that_of_the_model(tmp_path, load):
    backbone = timm_backbone("tf_mobilenetv3_small_minimal_100", (64, 32))
    torch.save(
        timm.create_model("tf_mobilenetv3_small_minimal_100").state_dict(), tmp_path / "mobile.pth"
    )
    (warning,) = load(backbone, tmp_path / "mobile.pth").warnings
    assert 'MODEL.PIXEL_MEAN "[127.5,127.5,127.5]"' in warning


def test_timm_position_embedding_with_other_tokens(tmp_path, randomised, load):
    sizes = {"num_classes": 0, "embed_dim": 24, "depth": 1, "num_heads": 2}
    for changes in ({"class_token": False, "global_pool": "avg"}, {"reg_tokens": 4}):
        network = randomised(VisionTransformer(img_size=48, **sizes, **changes))
        torch.save(network.state_dict(), tmp_path / "vit.pth")
        backbone = VisionTransformer(img_size=(64, 32), **sizes, **changes)
        (line,) = load(backbone, tmp_path / "vit.pth", family="vit").resized
        vectors = network.num_prefix_tokens
        assert f"pos_embed: (1, {9 + vectors}, 24) -> (1, {8 + vectors}, 24)" in line
        assert torch.equal(backbone.pos_embed[:, :vectors], network.pos_embed[:, :vectors])
