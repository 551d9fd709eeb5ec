import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Blip2ForConditionalGeneration,
    BlipForConditionalGeneration,
    CLIPModel,
    CLIPProcessor,
)

from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.sizes import MINIATURE, TEST


@pytest.fixture(scope="module")
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def pipeline(tiny_pipeline_folder):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sampled(pipeline, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return pipeline(
        "a photo of sks person", num_inference_steps=2, generator=generator, output_type="np"
    ).images[0]


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_pipeline_generates_images_of_its_size(pipeline):
    assert sampled(pipeline).shape == (TEST.height, TEST.width, 3)
    assert parameters(pipeline.unet) <= 300_000


def test_pipeline_survives_saving(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "again")
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "again", local_files_only=True)
    again.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(sampled(again), sampled(pipeline))


def test_weights_are_a_function_of_the_seed(tiny_pipeline_folder, tiny_captions, tmp_path):
    before = torch.random.get_rng_state()
    for name, seed in (("same", 0), ("other", 1)):
        models.save_pipeline(tmp_path / name, TEST, tiny_captions, seed)
    assert torch.equal(before, torch.random.get_rng_state())
    file = "unet/diffusion_pytorch_model.safetensors"
    expected = (tiny_pipeline_folder / file).read_bytes()
    assert (tmp_path / "same" / file).read_bytes() == expected
    assert (tmp_path / "other" / file).read_bytes() != expected


def test_text_encoder_is_clips(pipeline, tiny_clip_folder):
    clip = CLIPModel.from_pretrained(tiny_clip_folder, local_files_only=True)
    theirs = clip.text_model.state_dict()
    ours = pipeline.text_encoder.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in ours)


def test_clip_compares_images_of_any_shape_with_texts(tiny_clip_folder, image):
    clip = CLIPModel.from_pretrained(tiny_clip_folder, local_files_only=True)
    processor = CLIPProcessor.from_pretrained(tiny_clip_folder, local_files_only=True)
    texts = ["a woman", "a man in a coat", "zürich"]
    inputs = processor(text=texts, images=[image, image], padding=True, return_tensors="pt")
    assert clip(**inputs).logits_per_image.shape == (2, 3)


@pytest.mark.parametrize("kind", ["blip", "blip2"])
@pytest.mark.parametrize("question", [None, "Question: what is the person carrying? Answer:"])
def test_captioners_answer(kind, question, image, request):
    folder = request.getfixturevalue(f"tiny_{kind}_folder")
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    classes = {"blip": BlipForConditionalGeneration, "blip2": Blip2ForConditionalGeneration}
    assert type(model) is classes[kind]
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    texts = None if question is None else [question] * 2
    inputs = processor(images=[image, image], text=texts, padding=True, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    answers = processor.batch_decode(ids, skip_special_tokens=True)
    assert len(answers) == 2
    assert answers[0] == answers[1]


def test_miniature_models_are_small():
    assert parameters(models.build_unet(MINIATURE)) < 6e6
    assert parameters(models.build_autoencoder(MINIATURE)) < 2e6
