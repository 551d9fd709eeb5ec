import math

import open_clip.model
import pytest
import timm
import torch
from open_clip.transformer import QuickGELU
from open_clip.transformer import VisionTransformer as OpenClipViT
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import _convert_openai_clip

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones.vit import (
    SIZES,
    ClipViTBackbone,
    ViTBackbone,
    ViTSize,
    resized_position_embedding,
)
from fastreid_ext.modeling.build import build_backbone

SMALL = ViTSize(64, 3, 2)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(*size):
    return torch.randn(2, 3, *size)


@pytest.mark.parametrize("size", SIZES)
def test_vit_parameters_are_timms(size):
    with torch.device("meta"):
        ours = ViTBackbone(SIZES[size], image_size=(256, 128))
        theirs = timm.create_model(f"vit_{size}_patch16_224", num_classes=0, img_size=(256, 128))
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


@torch.no_grad()
def test_vit_output_is_timms():
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=(64, 32)).eval()
    batch = images(64, 32)
    tokens = theirs.forward_features(batch)
    for kind, expected in (
        ("class", tokens[:, 0, :, None, None]),
        ("patch", tokens[:, 1:].reshape(2, 4, 2, 192).permute(0, 3, 1, 2)),
    ):
        ours = ViTBackbone(SIZES["tiny"], image_size=(64, 32), tokens=kind).eval()
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(batch), expected)


def test_clip_tower_has_the_published_number_of_parameters():
    """85,550,592 without the frozen patch convolution, at 256 x 128 (129 positions)."""
    with torch.device("meta"):
        model = ClipViTBackbone(SIZES["base"], image_size=(256, 128))
    model.patch_embed.proj.requires_grad_(False)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 85_550_592
    assert sum(p.numel() for p in model.patch_embed.parameters()) == 3 * 16 * 16 * 768


def test_clip_keys_are_timms_without_its_bias_of_zeros():
    with torch.device("meta"):
        ours = ClipViTBackbone(SIZES["base"], image_size=(224, 224)).state_dict()
        theirs = timm.create_model("vit_base_patch16_clip_quickgelu_224", num_classes=512)
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    del expected["head.bias"]
    assert {key: value.shape for key, value in ours.items()} == expected


@torch.no_grad()
@pytest.mark.parametrize("quick_gelu", [True, False])
def test_clip_output_is_open_clips(quick_gelu):
    theirs = OpenClipViT(
        image_size=48,
        patch_size=16,
        width=64,
        layers=3,
        heads=2,
        mlp_ratio=4.0,
        output_dim=24,
        output_tokens=True,
        act_layer=QuickGELU if quick_gelu else torch.nn.GELU,
    ).eval()
    state = {f"visual.{key}": value for key, value in theirs.state_dict().items()}
    ours = ClipViTBackbone(SMALL, image_size=(48, 48), projection=24, quick_gelu=quick_gelu).eval()
    state = _convert_openai_clip(state, ours)
    assert not state.pop("head.bias").any()
    ours.load_state_dict(state)
    batch = images(48, 48)
    pooled, tokens = theirs(batch)  # the class token projected; the patches normed only
    assert ours(batch).shape == (2, 24, 1, 1)
    torch.testing.assert_close(ours(batch)[..., 0, 0], pooled, atol=1e-5, rtol=1e-5)
    patches = ClipViTBackbone(
        SMALL, image_size=(48, 48), projection=24, quick_gelu=quick_gelu, tokens="patch"
    ).eval()
    patches.load_state_dict(state)
    expected = (tokens @ theirs.proj).reshape(2, 3, 3, 24).permute(0, 3, 1, 2)
    torch.testing.assert_close(patches(batch), expected, atol=1e-5, rtol=1e-5)


def test_clip_activations_differ():
    """Else a user could not tell a wrong QUICK_GELU from the right one in this very test file."""
    x = torch.linspace(-3, 3, 7)
    blocks = [ClipViTBackbone(SMALL, image_size=(32, 32), quick_gelu=q).blocks[0] for q in (1, 0)]
    quick = blocks[0].mlp.act(x)
    plain = blocks[1].mlp.act(x)
    torch.testing.assert_close(quick, x * torch.sigmoid(1.702 * x))
    torch.testing.assert_close(plain, x * (1 + torch.erf(x / math.sqrt(2))) / 2)


@torch.no_grad()
@pytest.mark.parametrize("tokens", ["class", "patch"])
@pytest.mark.parametrize("kind", [ViTBackbone, ClipViTBackbone])
def test_vit_trunk_and_last_stage_are_the_whole(kind, tokens):
    model = kind(SMALL, image_size=(64, 32), tokens=tokens).eval()
    trunk, last_stage = model.split_last_stage()
    batch = images(64, 32)
    torch.testing.assert_close(last_stage(trunk(batch)), model(batch), atol=0, rtol=0)
    parts = {id(p) for part in (trunk, last_stage) for p in part.parameters()}
    assert parts == {id(p) for p in model.parameters()}


def test_vit_tokens_are_class_or_patch():
    with pytest.raises(ValueError, match="expected tokens class or patch, got ''; load_config"):
        ViTBackbone(SMALL, image_size=(32, 32), tokens="")


# --- position embedding


def test_position_embedding_resized_bicubic_is_timms():
    weights = torch.randn(1, 1 + 14 * 14, 8)
    expected = resample_abs_pos_embed(weights, [16, 8], [14, 14])
    torch.testing.assert_close(resized_position_embedding(weights, (16, 8)), expected)


def test_position_embedding_resized_bilinear_by_hand():
    """A ramp along the rows, seen at twice the rows: values at .25, .75, 1.25, ... of a row."""
    ramp = torch.arange(4.0).repeat_interleave(4).reshape(1, 16, 1)
    weights = torch.cat([torch.full((1, 1, 1), 9.0), ramp], dim=1)
    resized = resized_position_embedding(weights, (8, 2), mode="bilinear")
    rows = resized[0, 1:, 0].reshape(8, 2)
    expected = torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0])
    torch.testing.assert_close(rows[:, 0], expected)
    torch.testing.assert_close(rows[:, 1], expected)
    assert resized[0, 0, 0] == 9.0


def test_position_embedding_of_equal_or_tall_grid():
    weights = torch.randn(1, 1 + 16 * 8, 8)
    assert resized_position_embedding(weights, (16, 8), old_grid=(16, 8)) is weights
    assert resized_position_embedding(weights, (24, 8), old_grid=(16, 8)).shape == (1, 193, 8)
    with pytest.raises(ValueError, match=r"grid of 11 x 11, got \(1, 129, 8\); give the grid"):
        resized_position_embedding(weights, (24, 8))


# --- from a configuration


def built(name, depth, *more):
    keys = ["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", depth]
    size = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "MODEL.DEVICE", "cpu"]
    cfg = load_config("", [*keys, *size, "MODEL.BACKBONE.FEAT_DIM", 0, *more])
    with torch.device("meta"):
        return build_backbone(cfg), cfg.MODEL.BACKBONE


def test_vit_from_configuration():
    keys = ["MODEL.BACKBONE.DROP_PATH_RATIO", 0.2, "MODEL.BACKBONE.DROP_RATIO", 0.05]
    model, backbone = built("build_plain_vit_backbone", "tiny", *keys)
    assert backbone.FEAT_DIM == 192
    assert backbone.TOKENS == model.as_map.tokens == "class"
    assert model.pos_embed.shape == (1, 1 + 4 * 2, 192)
    assert model.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)
    assert model.pos_drop.p == model.blocks[0].mlp.drop1.p == 0.05
    assert model.patch_embed.proj.weight.requires_grad
    assert model.position_mode == "bicubic"


def test_clip_from_configuration():
    keys = ["MODEL.BACKBONE.FREEZE_PATCH_EMBED", True, "MODEL.BACKBONE.QUICK_GELU", False]
    pool = ["MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling"]
    model, backbone = built("build_clip_vit_backbone", "base", *keys, *pool)
    assert backbone.FEAT_DIM == model.num_features == 512
    assert backbone.TOKENS == "patch"
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["patch_embed.proj.weight"]
    assert type(model.blocks[0].mlp.act).__name__ == "GELU"
    assert model.norm.eps == 1e-5
    assert model.position_mode == "bilinear"


def test_clip_default_activation_is_openais():
    """The default of QUICK_GELU: in open_clip the names with "quickgelu" are OpenAI's layout."""
    quick = open_clip.get_model_config("ViT-B-16-quickgelu")
    assert quick["quick_gelu"]
    assert not open_clip.get_model_config("ViT-B-16").get("quick_gelu", False)
