import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPModel, CLIPProcessor

from projects.DiffusionReID.miniature import pictures
from projects.DiffusionReID.miniature.judging import (
    agreement,
    colours_worn,
    found_captions,
    generate_images,
    mean_error,
)

CAPTION = (
    "a woman with red hair in a bob wearing a checked black and light blue shirt, white skirt "
    "and black shoes, with a green handbag, walking, side view"
)


def test_only_what_is_worn_counts():
    assert colours_worn(CAPTION) == {"black", "blue", "white"}
    assert colours_worn("a photo") == set()


def test_agreement_by_hand():
    told = "a man wearing a black shirt, blue shorts and red shoes, with a white bag"
    assert agreement([told, CAPTION], [CAPTION, CAPTION]) == pytest.approx((2 / 3 + 1) / 2)


def test_mean_error_by_hand():
    first = torch.tensor([[0, 10]], dtype=torch.uint8)
    assert mean_error(first, torch.tensor([[250, 10]], dtype=torch.uint8)) == 125


def test_image_depends_on_its_own_seed_alone(tiny_pipeline_folder):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder, local_files_only=True)
    images = generate_images(pipeline, ["a man", "a woman"], seed=4, steps=2)
    alone = generate_images(pipeline, ["a woman"], seed=5, steps=2)
    assert images.shape == (2, 3, 32, 16)
    assert images.dtype == torch.uint8
    assert (images[1].int() - alone[0].int()).abs().max() <= 1


def test_an_untrained_clip_guesses(tiny_clip_folder):
    clip = CLIPModel.from_pretrained(tiny_clip_folder, local_files_only=True)
    processor = CLIPProcessor.from_pretrained(tiny_clip_folder, local_files_only=True)
    images = torch.randint(0, 256, (60, 3, 32, 16), dtype=torch.uint8)
    captions = [f"a man wearing {number} coats" for number in range(60)]
    rng = np.random.default_rng(0)
    assert found_captions(clip, processor, images, captions, rng) < 0.4


def test_one_caption_is_no_choice():
    with pytest.raises(ValueError, match=r"expected different captions, got .*give more"):
        found_captions(None, None, torch.zeros(2, 3, 8, 4), ["a man"] * 2, None)


def test_curves_need_losses(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no loss curves in .*; train a stage first"):
        pictures.plot_curves(tmp_path, tmp_path / "a.png")
