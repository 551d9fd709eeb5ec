"""The sets that the miniature replication compares, on tiny real models."""

import dataclasses

import cv2
import numpy as np
import pytest

from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.manifest import read_set
from projects.DiffusionReID.miniature.generated_sets import JOBS, GeneratedSets, ImageChoice

RECIPE = """
MODEL: {DEVICE: cpu}
DATASETS:
  NAMES: ("PersonFolder",)
GENERATION:
  DTYPE: float32
  SIZE: [32, 16]
  CAPTIONS: {QUESTIONS: [""], BEAMS: 1, MAX_TOKENS: 8}
  REFERENCE_SET: {IMAGES: 0}
  FINE_TUNING: {STEPS: 1, RANK: 2, ALPHA: 2}
  SAMPLING: {IMAGES_PER_IDENTITY: 4, STEPS: 2, BATCH_SIZE: 4, SAVE_SIZE: [32, 16], FORMAT: png}
  FILTER: {USE: ["duplicates"]}
"""


@pytest.fixture
def sets(tmp_path, tiny_pipeline_folder, tiny_clip_folder, tiny_blip_folder):
    rng = np.random.default_rng(0)
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        folder = tmp_path / "persons" / part
        folder.mkdir(parents=True)
        for frame in range(2):
            image = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"0001_c1s1_{frame:06d}_00.jpg"), image)
    base = tmp_path / "base"
    base.mkdir()
    folders = {
        "pipeline": tiny_pipeline_folder,
        "clip": tiny_clip_folder,
        "captioner": tiny_blip_folder,
    }
    for name, folder in folders.items():
        (base / name).symlink_to(folder)
    (tmp_path / "recipe.yml").write_text(RECIPE)
    return GeneratedSets(
        recipe=tmp_path / "recipe.yml",
        base=base,
        output=tmp_path / "seed3",
        seed=3,
        filters={},
        overrides=["DATASETS.FOLDER", str(tmp_path / "persons")],
    )


def test_job_generates_once_for_all_choices(sets):
    def no_models(cfg):
        return {}

    def not_again(cfg):
        raise AssertionError("generated again")

    every = sets.make(ImageChoice(filters=()), no_models)
    assert every == sets.output / "sets" / "generated-all-1" / "images"
    assert read_set(every)[0].counts == {"ok": 4}
    half = sets.make(ImageChoice(filters=(), share=0.5), not_again)
    assert read_set(half)[0].counts == {"ok": 2}
    assert (Layout(sets.output / "generated").images / "dataset.json").is_file()
    pairs = [*sets.overrides, "GENERATION.FINE_TUNING.STEPS", "2"]
    with pytest.raises(ValueError, match=r"FINE_TUNING.STEPS was 1, is 2\); give another"):
        dataclasses.replace(sets, overrides=pairs).make(ImageChoice(filters=()), not_again)


def test_a_job_leaves_out_what_it_is_named_for(sets):
    whole = sets.config("generated")
    assert (whole.SEED, whole.GENERATION.PROMPT.TOKEN) == (3, "sks")
    assert whole.GENERATION.CAPTIONS.CAPTIONER == str(sets.base / "captioner")
    assert sets.config("no_token").GENERATION.PROMPT.TOKEN == ""
    assert sets.config("no_reference_set").GENERATION.REFERENCE_SET.IMAGES == 0
    folders = {sets.config(job).OUTPUT_DIR for job in JOBS}
    assert folders == {str(sets.output / job) for job in JOBS}


def test_models_of_the_filters_are_those_of_their_runs(sets, tmp_path):
    with_model = dataclasses.replace(sets, filters={"cctf": tmp_path / "run"})
    cctf = with_model.config("generated").GENERATION.FILTER.CCTF
    assert cctf.CONFIG_FILE == str(tmp_path / "run" / "config.yaml")
    assert cctf.WEIGHTS == str(tmp_path / "run" / "model_final.pth")
