from pathlib import Path

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

from fastreid_ext.config import load_config
from fastreid_ext.deploy.filter_models import filter_models
from fastreid_ext.manifest import read_identity
from measuring.captioning import (
    build_large,
    measure_captioning,
    save_random_captioner,
)
from measuring.filtering import measure_filtering, save_random_reid, write_random_job

RECIPE = Path(__file__).parents[3] / "projects/DiffusionReID/miniature/configs/reid.yml"


def test_captions_on_the_cpu(tmp_path):
    place = {"device": torch.device("cpu"), "dtype": torch.float32}
    save_random_captioner("miniature", tmp_path / "blip", **place)
    few = {"images": 3, "batch_size": 2, "max_tokens": 4, "beams": 1}
    figures = measure_captioning(tmp_path / "blip", **place, **few)
    assert figures.images_per_second == 3 / figures.seconds
    assert figures.peak_bytes > 50e6
    assert figures.busy is None


def test_the_large_captioner_is_blip2_on_opt():
    """Whose float32 weights are 15 GB."""
    with torch.device("meta"):
        model, processor = build_large()
    assert isinstance(model, Blip2ForConditionalGeneration)
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(15e9 / 4, rel=5e-3)
    assert processor.num_query_tokens == 32


def test_scores_of_noise_are_in_its_rows(tmp_path):
    keys = write_random_job(tmp_path / "job", persons=17, images=2)
    config, weights = save_random_reid(RECIPE, tmp_path / "reid", keys)
    keys += ["MODEL.DEVICE", "cpu", "GENERATION.FILTER.REID.CONFIG_FILE", str(config)]
    cfg = load_config("", [*keys, "GENERATION.FILTER.REID.WEIGHTS", str(weights)])
    figures = measure_filtering(cfg, filter_models(cfg))
    assert figures.images == 16  # two groups of eight persons, of which one warms up
    for person in range(1, 17):
        for row in read_identity(tmp_path / "job" / "images" / f"PersonFolder_{person:04d}"):
            assert -1 <= row.image.scores["reid_similarity"] <= 1
