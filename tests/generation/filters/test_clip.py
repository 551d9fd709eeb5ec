import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPImageProcessor, CLIPModel

from fastreid_ext.config import load_config
from fastreid_ext.generation.filters.clip import ClipFilter, clip_source, open_clip_filter

TEXTS = ["a photo of a person", "a green backpack", "red sneakers"]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (48, 24, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture(scope="module")
def expected(tiny_clip_folder, images):
    """Probabilities by transformers' own forward pass."""
    processor = AutoProcessor.from_pretrained(tiny_clip_folder)
    pictures = [Image.fromarray(image) for image in images]
    inputs = processor(text=TEXTS, images=pictures, return_tensors="pt", padding=True)
    with torch.no_grad():
        output = CLIPModel.from_pretrained(tiny_clip_folder).eval()(**inputs)
    return output.logits_per_image.softmax(dim=1)[:, 0].numpy()


def test_probability_of_the_first_text_is_that_of_transformers(tiny_clip_folder, images, expected):
    found = ClipFilter(tiny_clip_folder, TEXTS, batch_size=2)(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std() > 0


def test_no_image_no_probability(tiny_clip_folder):
    assert ClipFilter(tiny_clip_folder, TEXTS)([]).shape == (0,)


def test_a_processor_that_cuts_sees_the_whole_image(tiny_clip_folder, tmp_path, images):
    """Feet and head of a person count: else images that differ there only would be equal."""
    folder = tmp_path / "clip"
    CLIPModel.from_pretrained(tiny_clip_folder).save_pretrained(folder)
    processor = AutoProcessor.from_pretrained(tiny_clip_folder)
    processor.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessor(do_center_crop=True, **sizes).save_pretrained(folder)
    (folder / "processor_config.json").unlink(missing_ok=True)
    other = images[0].copy()
    other[:8] = 255 - other[:8]
    first, second = ClipFilter(folder, TEXTS)([images[0], other])
    assert abs(first - second) > 1e-6


def test_a_text_that_is_too_long(tiny_clip_folder):
    with pytest.raises(ValueError, match=r"at most 77 tokens in GENERATION.FILTER.CLIP.TEXTS, got"):
        ClipFilter(tiny_clip_folder, ["person " * 100, "street"])


def settings(folder, **texts):
    keys = ["GENERATION.FILTER.CLIP.MODEL", str(folder), "MODEL.DEVICE", "cpu"]
    keys += ["GENERATION.FILTER.USE", "['clip']"]
    keys += ["GENERATION.FILTER.CLIP.TEXTS", str(list(texts.values()) or TEXTS)]
    return load_config("", keys)


def test_from_a_configuration(tiny_clip_folder, images, expected):
    found = open_clip_filter(settings(tiny_clip_folder))(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_other_texts_are_another_filter(tiny_clip_folder):
    first = clip_source(settings(tiny_clip_folder))[0]
    assert first == clip_source(settings(tiny_clip_folder))[0]
    assert first != clip_source(settings(tiny_clip_folder, a="a person", b="a street"))[0]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"GENERATION.FILTER.CLIP.MODEL"):
        clip_source(settings(tmp_path / "nothing"))
