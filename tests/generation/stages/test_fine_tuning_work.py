"""Fine-tuning as a stage of a job: from a data set's files to adapters that diffusers opens."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from fastreid.config import get_cfg
from safetensors.torch import load_file

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.diffusion.adapter_files import LORA, read_training, write_training
from fastreid_ext.diffusion.stable_diffusion import load_base
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.identities.identity_list import Identity, SourceImage
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.sampling.reference_set import ReferenceSettings, make_reference_set
from fastreid_ext.generation.stages.fine_tuning import FineTuningWork, training_images
from fastreid_ext.generation.stages.job import Job

NAMES = ["PersonFolder_0001", "PersonFolder_0002", "PersonFolder_0003"]
PROMPTS = {
    NAMES[0]: Prompts("a photo of sks person, a coat", "a photo of person, a coat"),
    NAMES[1]: Prompts("a photo of sks person, black coat", "a photo of person, black coat"),
    NAMES[2]: Prompts("a photo of sks person, red shorts", "a photo of person, red shorts"),
}
CLUSTERS = dict.fromkeys(NAMES, "a-cluster")
TRAIN = "bounding_box_train"
LEADER = "a photo of person, a coat"


@pytest.fixture(scope="module")
def people_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    for part in (TRAIN, "query", "bounding_box_test"):
        (root / part).mkdir()
        for person in (1, 2, 3):
            for frame in range(2):
                image = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
                cv2.imwrite(str(root / part / f"{person:04d}_c1s1_{frame:06d}_00.jpg"), image)
    return root


@pytest.fixture
def cfg(tiny_pipeline_folder, people_folder, tmp_path):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.SEED = 4
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.DATASETS.NAMES = ("PersonFolder",)
    cfg.DATASETS.FOLDER = str(people_folder)
    cfg.GENERATION.BASE_MODEL = str(tiny_pipeline_folder)
    cfg.GENERATION.DTYPE = "float32"
    cfg.GENERATION.SIZE = [32, 16]
    tuning = cfg.GENERATION.FINE_TUNING
    tuning.RANK = 2
    tuning.ALPHA = 4
    tuning.STEPS = 2
    cfg.GENERATION.SAMPLING.STEPS = 2
    cfg.GENERATION.REFERENCE_SET.IMAGES = 2
    return cfg


@pytest.fixture
def base(cfg):
    return load_base(cfg)


def people():
    return {
        name: Identity(
            name=name,
            source_dataset="PersonFolder",
            person_id=int(name[-4:]),
            images=tuple(
                SourceImage(path=f"{TRAIN}/{name[-4:]}_c1s1_{i:06d}_00.jpg", camera=0, frame=i)
                for i in range(2)
            ),
        )
        for name in NAMES
    }


def work_of(cfg, base, clusters):
    job = Job.to_read(cfg)
    vars(job).update(base=base, identities=people(), prompts=PROMPTS, clusters=clusters)
    return FineTuningWork(job), job.layout


def test_adapters_do_not_depend_on_who_was_learned_together(cfg, base):
    layout = Layout(Path(cfg.OUTPUT_DIR))
    settings = ReferenceSettings.from_config(cfg)
    make_reference_set(base, LEADER, "a-cluster", layout.output, settings)
    work, layout = work_of(cfg, base, CLUSTERS)
    assert work(NAMES) == {}
    facts = read_training(layout.adapter(NAMES[2]))
    assert facts["together"] == 3
    assert facts["base"] == base.name
    assert facts["prompt"] == PROMPTS[NAMES[2]].identity
    assert facts["reference_prompt"] == LEADER  # of which the images were generated
    assert facts["reference_images"] == 2
    before = load_file(layout.adapter(NAMES[2]) / LORA)
    kept = (layout.adapter(NAMES[0]) / LORA).stat().st_mtime_ns
    (layout.adapter(NAMES[2]) / "training.json").unlink()  # as if it had been cut
    assert work(NAMES) == {}
    assert (layout.adapter(NAMES[0]) / LORA).stat().st_mtime_ns == kept
    again = load_file(layout.adapter(NAMES[2]) / LORA)
    assert read_training(layout.adapter(NAMES[2]))["together"] == 1
    for key, value in before.items():
        torch.testing.assert_close(again[key], value, rtol=1e-3, atol=1e-5)


def test_adapters_open_in_diffusers_without_reference_sets(cfg, base, tiny_pipeline_folder):
    work, layout = work_of(cfg, base, {})
    assert work(NAMES[:1]) == {}
    assert read_training(layout.adapter(NAMES[0]))["reference_images"] == 0
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder, safety_checker=None)
    pipeline.load_lora_weights(layout.adapter(NAMES[0]))
    assert not list(layout.output.glob(".partial/*"))


def test_full_fine_tuning_writes_whole_unets(cfg, base):
    cfg.GENERATION.FINE_TUNING.METHOD = "full"
    work, layout = work_of(cfg, base, {})
    assert work(NAMES[:2]) == {}
    weights = layout.adapter(NAMES[1]) / "unet" / "diffusion_pytorch_model.safetensors"
    assert weights.is_file()
    assert not (layout.adapter(NAMES[1]) / LORA).exists()
    shutil.rmtree(weights.parent)  # as when the images are generated and then removed by hand
    assert work(NAMES[:2]) == {}
    assert weights.is_file()


def test_a_failure_is_a_reason_and_nothing_is_written(cfg, base):
    cfg.GENERATION.FINE_TUNING.BASE_LR = 1e30
    cfg.GENERATION.FINE_TUNING.MAX_GRAD_NORM = 0.0
    cfg.GENERATION.FINE_TUNING.STEPS = 4
    work, layout = work_of(cfg, base, {})
    reasons = work(NAMES[:1])
    assert "was not finite at step" in reasons[NAMES[0]]
    assert not layout.adapter(NAMES[0]).exists()


def test_an_adapter_of_another_base_model_is_refused(cfg, base):
    work, layout = work_of(cfg, base, {})
    layout.adapter(NAMES[0]).mkdir(parents=True)
    (layout.adapter(NAMES[0]) / LORA).touch()
    write_training(layout.adapter(NAMES[0]), {"base": "other@1"})
    with pytest.raises(ValueError, match=r"was trained on other@1, the base model is pipeline@"):
        work(NAMES)


def test_images_are_stretched_or_keep_their_aspect():
    image = np.zeros((40, 20, 3), np.uint8)
    image[:, :10, 0] = 200  # left half red
    stretched = training_images([image, image], (32, 32), "resize")
    assert stretched.shape == (2, 3, 32, 32)
    assert stretched.dtype == torch.uint8
    assert (stretched[0, 0, 16] > 100).sum() == 16
    kept = training_images([image], (32, 32), "crop")
    assert kept.shape == (1, 3, 32, 32)
    # The person has the middle 16 columns, of which 8 are red; so has the repeated left edge.
    assert (kept[0, 0, 16] > 100).sum() == 16
    assert (kept[0, 0, 16, :16] > 100).all()
    wide = training_images([image.transpose(1, 0, 2).copy()], (32, 16), "crop")
    assert wide.shape == (1, 3, 32, 16)
    assert (wide[0, 0, :16, 8] > 100).all()
