import shutil

import diffusers
import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from PIL import Image

from fastreid_ext.config.defaults import add_fastreid_ext_config
from fastreid_ext.diffusion.adapter_files import LORA, write_adapter
from fastreid_ext.diffusion.stable_diffusion import load_base
from fastreid_ext.generation.captions.prompts import Prompts
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.fine_tuning.trained_token import write_embedding
from fastreid_ext.generation.identities.identity_list import Identity, SourceImage
from fastreid_ext.generation.runs.layout import Layout
from fastreid_ext.generation.runs.workers import Worker
from fastreid_ext.generation.sampling.reference_set import read_reference_set
from fastreid_ext.generation.stages.job import Job
from fastreid_ext.generation.stages.reference_sets import open_generation
from fastreid_ext.generation.stages.sampling import SamplingWork
from fastreid_ext.manifest import read_identity, sha256_of

NAMES = ["Market1501_0002", "Market1501_0007"]
PROMPTS = {
    NAMES[0]: ("a photo of sks person, a coat",),
    NAMES[1]: ("a photo of sks person, red shorts",),
}


@pytest.fixture(scope="module")
def cfg(tiny_pipeline_folder):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.SEED = 4
    generation = cfg.GENERATION
    generation.BASE_MODEL = str(tiny_pipeline_folder)
    generation.DTYPE = "float32"
    generation.SIZE = [32, 16]
    generation.FINE_TUNING.RANK = 2
    generation.FINE_TUNING.ALPHA = 4
    generation.FINE_TUNING.IDENTITIES_AT_ONCE = 2
    sampling = generation.SAMPLING
    sampling.IMAGES_PER_IDENTITY = 3
    sampling.STEPS = 2
    sampling.BATCH_SIZE = 4
    sampling.SAVE_SIZE = [32, 16]
    sampling.FORMAT = "png"
    generation.REFERENCE_SET.IMAGES = 2
    return cfg


def person(name):
    return Identity(
        name=name,
        source_dataset="Market1501",
        person_id=int(name[-4:]),
        images=(SourceImage(path="a.jpg", camera=0, frame=0),),
    )


def opened(folder):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def expect_images_of(pipeline, prompt, folder):
    """The folder has the images that diffusers' pipeline generates from the seeds in its rows."""
    rows = [row.image for row in read_identity(folder)]
    expected = pipeline(
        [prompt] * 3,
        height=32,
        width=16,
        num_inference_steps=2,
        guidance_scale=7.5,
        generator=[torch.Generator().manual_seed(row.seed) for row in rows],
        output_type="np",
    ).images
    for row, image in zip(rows, expected, strict=True):
        found = np.asarray(Image.open(folder / row.file_name)).astype(int)
        assert np.abs(found - (255 * image).round()).max() <= 1


def job_of(cfg, base, output, prompts):
    """A job whose captions and base model are there."""
    job = Job(cfg, Worker(output=output))
    identities = {name: person(name) for name in prompts}
    texts = {name: Prompts(own[0], "", own) for name, own in prompts.items()}
    vars(job).update(base=base, identities=identities, prompts=texts)
    return job


@pytest.fixture(scope="module")
def model(cfg):
    return load_base(cfg)


@pytest.fixture(scope="module")
def layout(cfg, model, tmp_path_factory):
    """A job in which two persons have adapters, generated."""
    layout = Layout(tmp_path_factory.mktemp("job"))
    tuning = cfg.GENERATION.FINE_TUNING
    trained = LoraBank(model.unet, count=2, rank=2, alpha=4, target_modules=tuning.TARGET_MODULES)
    generator = torch.Generator().manual_seed(1)
    for k, name in enumerate(NAMES):
        state = {
            key: 0.3 * torch.randn(value.shape, generator=generator)
            for key, value in trained.state_of(k).items()
        }
        layout.adapter(name).mkdir(parents=True)
        targets = tuning.TARGET_MODULES
        write_adapter(layout.adapter(name), state, rank=2, alpha=4, targets=targets)
    trained.remove()
    work = SamplingWork(job_of(cfg, model, layout.output, PROMPTS))
    assert work(NAMES) == {}
    return layout


@pytest.mark.parametrize("name", NAMES)
def test_images_are_those_diffusers_generates_with_the_adapter(layout, tiny_pipeline_folder, name):
    pipeline = opened(tiny_pipeline_folder)
    pipeline.load_lora_weights(layout.adapter(name))
    expect_images_of(pipeline, PROMPTS[name][0], layout.images / name)


def test_rows_name_the_adapter(layout, model):
    row = read_identity(layout.images / NAMES[1])[0].image
    digest = sha256_of(layout.adapter(NAMES[1]) / LORA)[:12]
    assert row.model_ids == (model.name, f"adapters/{NAMES[1]}@{digest}")
    assert row.prompt == PROMPTS[NAMES[1]][0]


def test_reference_sets_of_clusters(cfg, model, tmp_path):
    layout = Layout(tmp_path)
    leaders = {"c1": "a photo of person, a coat", "c2": "a photo of person, red shorts"}
    job = job_of(cfg, model, tmp_path, {})
    vars(job)["leaders"] = leaders
    assert open_generation(job)(["c1", "c2"]) == {}
    sets = [read_reference_set(layout.reference_set(cluster)) for cluster in leaders]
    assert [len(found.mean) for found in sets] == [2, 2]
    assert not torch.equal(sets[0].mean, sets[1].mean)


def test_a_trained_word_is_put_into_the_prompt(cfg, model, tiny_pipeline_folder, tmp_path):
    """Equal to diffusers with the embedding loaded."""
    name = NAMES[0]
    layout = Layout(tmp_path)
    zero = LoraBank(model.unet, count=1, rank=2, alpha=4, target_modules=["to_q"])
    state = zero.state_of(0)
    prompt = f"a photo of <{name}> person"
    zero.remove()
    layout.adapter(name).mkdir(parents=True)
    write_adapter(layout.adapter(name), state, rank=2, alpha=4, targets=["to_q"])
    vector = torch.randn(32, generator=torch.Generator().manual_seed(2))
    write_embedding(layout.adapter(name), f"<{name}>", vector)
    few = cfg.clone()
    few.GENERATION.FINE_TUNING.TARGET_MODULES = ["to_q"]
    SamplingWork(job_of(few, model, tmp_path, {name: (prompt,)}))([name])

    pipeline = opened(tiny_pipeline_folder)
    pipeline.load_textual_inversion(layout.adapter(name))
    expect_images_of(pipeline, prompt, layout.images / name)


def test_a_few_step_adapter_lies_under_that_of_the_person(
    cfg, layout, tiny_pipeline_folder, tmp_path
):
    """Equal to diffusers with both adapters on."""
    zero = LoraBank(load_base(cfg).unet, count=1, rank=3, alpha=3, target_modules=["to_q"])
    generator = torch.Generator().manual_seed(6)
    few_step = {
        key: 0.3 * torch.randn(value.shape, generator=generator)
        for key, value in zero.state_of(0).items()
    }
    (tmp_path / "lcm").mkdir()
    write_adapter(tmp_path / "lcm", few_step, rank=3, alpha=3, targets=["to_q"])
    few = cfg.clone()
    name = NAMES[0]
    few.GENERATION.SAMPLING.FEW_STEP_ADAPTER = str(tmp_path / "lcm")
    job = job_of(few, load_base(few), tmp_path, {name: PROMPTS[name]})
    shutil.copytree(layout.adapter(name), job.layout.adapter(name))
    SamplingWork(job)([name])

    pipeline = opened(tiny_pipeline_folder)
    pipeline.load_lora_weights(tmp_path / "lcm", adapter_name="few_step")
    pipeline.load_lora_weights(layout.adapter(name), adapter_name="person")
    pipeline.set_adapters(["few_step", "person"])
    expect_images_of(pipeline, PROMPTS[name][0], job.layout.images / name)
    assert "+lcm@" in read_identity(job.layout.images / name)[0].image.model_ids[0]


def test_full_weights_generate_images(cfg, model, tiny_pipeline_folder, tmp_path):
    """Equal to diffusers with the parts put in; the base model stays as it is."""
    name = NAMES[0]
    layout = Layout(tmp_path)
    before = model.unet.conv_out.bias.clone()
    pipeline = opened(tiny_pipeline_folder)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for part in (pipeline.unet, pipeline.text_encoder):
            for weight in part.parameters():
                weight += 0.05 * torch.randn(weight.shape, generator=generator)
    pipeline.unet.save_pretrained(layout.adapter(name) / "unet")
    pipeline.text_encoder.save_pretrained(layout.adapter(name) / "text_encoder")
    full = cfg.clone()
    full.GENERATION.FINE_TUNING.METHOD = "full"
    SamplingWork(job_of(full, model, tmp_path, {name: PROMPTS[name]}))([name])

    expect_images_of(pipeline, PROMPTS[name][0], layout.images / name)
    assert torch.equal(model.unet.conv_out.bias, before)


def test_missing_full_weights_say_what_to_run(cfg, model, tmp_path):
    full = cfg.clone()
    full.GENERATION.FINE_TUNING.METHOD = "full"
    work = SamplingWork(job_of(full, model, tmp_path, PROMPTS))
    with pytest.raises(
        FileNotFoundError, match=r"expected weights of the whole U-Net in .*KEEP_FU"
    ):
        work(NAMES[:1])


def test_impossible_settings_are_an_error_before_anything_is_learned(cfg, model, tmp_path):
    wrong = cfg.clone()
    wrong.GENERATION.SAMPLING.SCHEDULER = "DDIMSheduler"
    job = job_of(wrong, model, tmp_path, PROMPTS)
    for open_work in (SamplingWork, open_generation):
        with pytest.raises(ValueError, match=r"did you mean 'DDIMScheduler'\?"):
            open_work(job)


def test_a_missing_adapter_says_what_to_run(cfg, model, tmp_path):
    reasons = SamplingWork(job_of(cfg, model, tmp_path, PROMPTS))(NAMES)
    assert sorted(reasons) == NAMES
    assert "make it with tools/generate_persons.py fine-tune" in reasons[NAMES[0]]


def test_a_damaged_adapter_leaves_the_others_of_its_group(cfg, model, layout, tmp_path):
    job = Layout(tmp_path)
    shutil.copytree(layout.output / "adapters", tmp_path / "adapters")
    damaged = job.adapter(NAMES[0]) / LORA
    damaged.write_bytes(damaged.read_bytes()[:-1])
    reasons = SamplingWork(job_of(cfg, model, tmp_path, PROMPTS))(NAMES)
    assert list(reasons) == NAMES[:1]
    assert "no whole safetensors file" in reasons[NAMES[0]]
    same = [folder.joinpath(NAMES[1], "metadata.jsonl") for folder in (job.images, layout.images)]
    assert same[0].read_bytes() == same[1].read_bytes()
