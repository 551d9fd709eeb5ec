import pytest
import torch
from transformers import CLIPModel

from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.captioners import build_blip
from fastreid_ext.diffusion.tiny.sizes import MINIATURE, TEST
from projects.DiffusionReID.miniature.clip_eyes import copy_vision


@pytest.fixture(scope="module")
def clip(tiny_clip_folder):
    """CLIP whose first layer norm does something."""
    clip = CLIPModel.from_pretrained(tiny_clip_folder, local_files_only=True).eval()
    with models.seeded(3), torch.no_grad():
        clip.vision_model.pre_layrnorm.weight.uniform_(0.5, 1.5)
        clip.vision_model.pre_layrnorm.bias.uniform_(-0.5, 0.5)
    return clip


def test_blip_sees_what_clip_sees(clip, tiny_captions):
    with models.seeded(1):
        blip = build_blip(TEST, tiny_captions)[0].eval()
        pixels = torch.randn(8, 3, 32, 32)
    copy_vision(clip.vision_model, blip.vision_model, pixels)
    with torch.no_grad():
        theirs = clip.vision_model(pixels).last_hidden_state
        theirs = clip.vision_model.post_layernorm(theirs)
        ours = blip.vision_model(pixels).last_hidden_state
    close = torch.corrcoef(torch.stack([theirs.flatten(), ours.flatten()]))[0, 1]
    assert close > 0.95


def test_other_sizes_are_refused(clip, tiny_captions):
    blip, _ = build_blip(MINIATURE, tiny_captions)
    with pytest.raises(ValueError, match=r"expected vision models of one size, got .*96.*32"):
        copy_vision(clip.vision_model, blip.vision_model, torch.zeros(1, 3, 32, 32))
