"""CLIP's text features against transformers' own whole CLIP model."""

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from transformers import CLIPModel, CLIPTokenizer

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.generation.captions.text_features import TextFeatures

TEXTS = ["a man walking", "a woman with long brown hair", "", "a man walking"]


@pytest.fixture(scope="module")
def features(tiny_clip_folder):
    return TextFeatures(tiny_clip_folder, device="cpu", batch_size=2)


def test_text_features_equal_normalised_clip(features, tiny_clip_folder):
    model = CLIPModel.from_pretrained(tiny_clip_folder)
    tokens = CLIPTokenizer.from_pretrained(tiny_clip_folder)(
        TEXTS, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model.get_text_features(**tokens).pooler_output
    expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    found = features(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_text_features_do_not_depend_on_the_batch_and_long_texts_are_cut(features):
    alone = features([TEXTS[1]])
    np.testing.assert_allclose(features(TEXTS)[1:2], alone, atol=1e-6)
    long = " ".join(["walking"] * 100)
    np.testing.assert_allclose(features([long]), features([long + " red"]), atol=1e-6)
    assert features([]).shape == (0, alone.shape[1])


def test_text_features_are_read_from_the_configuration(tiny_clip_folder, features):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.GENERATION.CAPTIONS.TEXT_MODEL = str(tiny_clip_folder)
    found = TextFeatures.from_config(cfg)(TEXTS)
    np.testing.assert_allclose(found, features(TEXTS), atol=1e-6)


def test_text_features_of_another_model_are_refused(tiny_blip_folder):
    message = r"expected all tensors of CLIPTextModelWithProjection in .*TEXT_MODEL\), got"
    with pytest.raises(ValueError, match=message):
        TextFeatures(tiny_blip_folder, device="cpu")
