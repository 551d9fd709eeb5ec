import copy
import re

import pytest
import timm
import torch

from fastreid_ext.modeling.backbones.timm_features import timm_backbone
from fastreid_ext.modeling.backbones.timm_models import timm_map

SIZE = (96, 48)
# A CNN, one whose norm follows the pooling, channels last, tokens with and without a class token.
MODELS = {
    "resnet18": (512, 3, 2),
    "convnext_atto": (320, 3, 1),
    "swin_s3_tiny_224": (768, 3, 2),
    "test_vit": (64, 6, 3),
    "test_vit4": (96, 6, 3),
    "vit_relpos_small_patch16_224": (384, 6, 3),
    "efficientnet_lite0": (1280, 3, 2),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def timms_own(name):
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    size = {"img_size": SIZE} if fixed else {}
    return timm.create_model(name, num_classes=0, global_pool="", **size)


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_timm_backbone_gives_timms_features_as_a_map(name):
    theirs = timms_own(name).eval()
    ours = timm_backbone(name, SIZE).eval()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    batch = torch.randn(2, 3, *SIZE)
    features = theirs.forward_features(batch)
    maps = ours(batch)
    channels, rows, columns = MODELS[name]
    assert maps.shape == (2, channels, rows, columns)
    if features.ndim == 3:  # tokens: the last ones are the patches, by rows
        expected = features[:, -rows * columns :].reshape(2, rows, columns, channels)
    else:
        expected = features if features.shape[-1] == channels else features.permute(0, 2, 3, 1)
        expected = expected if features.shape[-1] == channels else features.permute(0, 2, 3, 1)
    torch.testing.assert_close(maps.permute(0, 2, 3, 1), expected)


def test_timm_backbone_freezes_parameters_without_gradient():
    model = timm_backbone("convnext_atto", SIZE)
    model(torch.randn(2, 3, *SIZE)).square().mean().backward()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"head.norm.weight", "head.norm.bias"}
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def test_timm_backbone_copy_has_its_own_weights():
    model = timm_backbone("test_vit", SIZE).eval()
    other = copy.deepcopy(model)
    batch = torch.randn(2, 3, *SIZE)
    before = other(batch)
    for parameter in model.parameters():
        parameter.zero_()
    assert torch.equal(other(batch), before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "TIMM_NAME is empty; give the name of a timm model"),
        ("resnt18", "unknown name 'resnt18' in MODEL.BACKBONE.TIMM_NAME; did you mean 'resnet18'"),
        ("qqqqqq", "timm.list_models() gives all names"),
        ("hf-hub:timm/resnet18", "nothing is downloaded: weights come from MODEL.BACKBONE.PRETR"),
        ("levit_128", "'levit_128' gives no map for images of 96 x 48, but (2, 2, 384); take"),
        ("pit_b_224", "gives no map for images of 96 x 48, but (2, 1, 1024); take a model"),
        ("crossvit_9_240", "gives no map for images of 96 x 48 (Attempting to broadcast a dim"),
        ("nest_tiny_jx", "images of 96 x 48 (Model only handles square inputs); take another mod"),
        ("vit_small_patch14_dinov2", "its patches of 14 x 14 do not fill them; take INPUT.SIZE_TR"),
    ],
)
def test_timm_backbone_refuses_names_without_a_map(name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        timm_map(name, SIZE)


def test_timm_backbone_of_patches_of_14():
    assert timm_map("vit_small_patch14_dinov2", (98, 42)).grid == (7, 3)
    assert timm_map("efficientvit_b0", SIZE).grid == (3, 2)


def test_timm_backbone_name_may_have_a_tag():
    assert timm_map("resnet18.a1_in1k", SIZE) == timm_map("resnet18", SIZE)


def test_timm_map_needs_no_memory():
    """7 billion parameters would be 27 GB."""
    assert timm_map("vit_7b_patch16_dinov3", SIZE).channels == 4096
