"""Tiny real models with random weights, in the hub's layout, each built once for all tests."""

import pytest

from fastreid_ext.diffusion.tiny import captioners, models
from fastreid_ext.diffusion.tiny.sizes import TEST

CAPTIONS = (
    "a man with short black hair wearing a white t-shirt, khaki shorts and red sneakers, walking",
    "a woman with long brown hair wearing a yellow shirt, denim blue jeans and white sneakers",
    "a woman with grey hair in a bob wearing a black coat and navy trousers, with a red handbag",
    "a man with no hair wearing a pin-striped blue and pink sweater, using a phone, side view",
    "a photo of a person carrying a green backpack, standing, front view, back view",
)


@pytest.fixture(scope="session")
def tiny_captions():
    """The captions from which the vocabularies of the tiny models are made."""
    return CAPTIONS


@pytest.fixture(scope="session")
def tiny_pipeline_folder(tmp_path_factory):
    """A Stable Diffusion pipeline of 32x16-pixel images."""
    return _built(models.save_pipeline, tmp_path_factory, "pipeline")


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory):
    """CLIP; its text model is the pipeline's."""
    return _built(models.save_clip, tmp_path_factory, "clip")


@pytest.fixture(scope="session")
def tiny_blip2_folder(tmp_path_factory):
    """BLIP-2 on OPT."""
    return _built(captioners.save_blip2, tmp_path_factory, "blip2")


@pytest.fixture(scope="session")
def tiny_blip_folder(tmp_path_factory):
    """BLIP for captions."""
    return _built(captioners.save_blip, tmp_path_factory, "blip")


def _built(save, tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("tiny") / name
    save(folder, TEST, CAPTIONS)
    return folder
