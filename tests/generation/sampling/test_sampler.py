import dataclasses
import json
import shutil

import diffusers
import numpy as np
import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.diffusion.device_transfer import to_host
from fastreid_ext.diffusion.schedulers import scheduler_names
from fastreid_ext.diffusion.stable_diffusion import read_base
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.sampling.sampler import (
    NOT_FINITE,
    ONE_COLOUR,
    ImageRequest,
    SamplingSettings,
    sample_images,
)

from ...tiny_sampling import tiny_sampling
from ..conftest import read_tiny

SETTINGS = tiny_sampling(steps=3, negative_prompt="blue", batch_size=3)
PROMPTS = ("a man with red sneakers", "a woman", "a person, walking", "a photo of a black coat")


def requests(count, first=0):
    return [
        ImageRequest(identity="p", prompt=PROMPTS[n % 4], seed=1_000 + n, index=n)
        for n in range(first, first + count)
    ]


def changed(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def pixels_of(base, wanted, settings=SETTINGS):
    return [image.pixels for image in sample_images(base, None, wanted, settings)]


def of_pipeline(base, wanted, settings):
    """The same images by diffusers' own pipeline."""
    pipeline = diffusers.StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        unet=base.unet,
        scheduler=getattr(diffusers, settings.scheduler).from_config(base.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return images_of(pipeline, wanted, settings)


def images_of(pipeline, wanted, settings):
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        [request.prompt for request in wanted],
        height=settings.size[0],
        width=settings.size[1],
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        negative_prompt=[settings.negative_prompt] * len(wanted),
        generator=[torch.Generator().manual_seed(request.seed) for request in wanted],
        output_type="np",
    ).images
    return (images * 255).round().astype(np.uint8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers", "ignore:__array_wrap__")
@pytest.mark.parametrize("name", scheduler_names())
def test_equals_the_pipeline_of_diffusers(base, name):
    settings = changed(scheduler=name, steps=5)
    expected = of_pipeline(base, requests(3), settings)
    found = np.stack(pixels_of(base, requests(3), settings))
    assert found.std() > 5  # a picture, though of nothing
    # One level where a value lies between two: decoding has another order of operations.
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


VARIANTS = {
    "epsilon": {},
    "v_prediction": {"prediction_type": "v_prediction"},
    "pndm": {"_class_name": "PNDMScheduler", "skip_prk_steps": True},
    "euler": {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},
    # As written by a scheduler built from scratch: no steps_offset, no clip_sample.
    "fresh": None,
}


@pytest.fixture
def other_folder(tiny_pipeline_folder, tmp_path):
    """Copies the pipeline with another scheduler."""

    def copy(variant):
        folder = shutil.copytree(tiny_pipeline_folder, tmp_path / variant)
        path = folder / "scheduler" / "scheduler_config.json"
        config = json.loads(path.read_text()) | (VARIANTS[variant] or {})
        if VARIANTS[variant] is None:
            config = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}
        path.write_text(json.dumps(config))
        index = json.loads((folder / "model_index.json").read_text())
        index["scheduler"] = ["diffusers", config["_class_name"]]
        (folder / "model_index.json").write_text(json.dumps(index))
        return folder, config["_class_name"]

    return copy


@pytest.mark.filterwarnings("ignore::FutureWarning:diffusers", "ignore::DeprecationWarning")
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_pipeline_that_diffusers_makes_of_a_folder(other_folder, variant):
    """With the scheduler of the folder, as the pipeline corrects it."""
    folder, name = other_folder(variant)
    read = read_tiny(folder)
    settings = changed(scheduler=name, steps=5)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    expected = images_of(pipeline, requests(3), settings)
    found = np.stack(pixels_of(read, requests(3), settings))
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_equals_the_pipeline_without_guidance(base):
    settings = changed(guidance_scale=1.0)
    expected = of_pipeline(base, requests(3), settings)
    found = np.stack(pixels_of(base, requests(3), settings))
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_image_alone_equals_that_of_a_run(base, name):
    settings = changed(scheduler=name)
    run = pixels_of(base, requests(8), settings)
    assert len(run) == 8
    for k in (0, 4, 7):
        (alone,) = pixels_of(base, requests(1, first=k), settings)
        assert np.array_equal(alone, run[k])


def test_image_depends_on_seed_and_prompt(base):
    first = ImageRequest(identity="p", prompt="a man", seed=1)
    other_seed = dataclasses.replace(first, seed=2)
    other_prompt = dataclasses.replace(first, prompt="a woman")
    a, b, c, again = pixels_of(base, [first, other_seed, other_prompt, first])
    assert np.array_equal(a, again)
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_settings_are_read_from_the_configuration(base):
    keys = "GENERATION.SAMPLING."
    pairs = ["GENERATION.SIZE", "[32, 16]", f"{keys}NEGATIVE_PROMPT", "blue"]
    pairs += [f"{keys}STEPS", "3", f"{keys}GUIDANCE_SCALE", "5.0", f"{keys}BATCH_SIZE", "3"]
    cfg = load_config("", ["MODEL.DEVICE", "cpu", *pairs])
    assert SamplingSettings.from_config(cfg) == SETTINGS
    (image,) = pixels_of(base, requests(1), changed(negative_prompt="blue"))
    (other,) = pixels_of(base, requests(1), changed(negative_prompt=""))
    assert not np.array_equal(image, other)


def test_a_text_equals_its_embedding(base):
    text = ImageRequest(identity="p", prompt=PROMPTS[0], seed=3)
    embedded = dataclasses.replace(text, prompt=base.encode_prompts([PROMPTS[0]])[0])
    a, b = pixels_of(base, [text, embedded])
    assert np.array_equal(a, b)


def test_does_not_touch_the_global_generator(base):
    before = torch.random.get_rng_state()
    pixels_of(base, requests(2), changed(scheduler="EulerAncestralDiscreteScheduler"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_yields_in_order_with_requests(base):
    wanted = requests(5)
    assert [image.request for image in sample_images(base, None, iter(wanted), SETTINGS)] == wanted
    assert list(sample_images(base, None, [], SETTINGS)) == []


def test_batch_is_yielded_once_the_next_is_launched(base):
    taken = []

    def watched():
        for request in requests(9):
            taken.append(request.index)
            yield request

    images = sample_images(base, None, watched(), SETTINGS)
    assert next(images).request.index == 0
    assert taken == [0, 1, 2, 3, 4, 5]


def test_latents_stay_float32_under_a_half_model(tiny_pipeline_folder, base):
    half = read_base(
        tiny_pipeline_folder, name="tiny@0", device=torch.device("cpu"), dtype=torch.bfloat16
    )
    settings = changed(steps=50, guidance_scale=1.0)
    near = np.stack(pixels_of(half, requests(3), settings)).astype(int)
    exact = np.stack(pixels_of(base, requests(3), settings)).astype(int)
    of_half_latents = of_pipeline(half, requests(3), settings).astype(int)
    assert np.abs(near - exact).mean() < np.abs(of_half_latents - exact).mean()


def test_nan_fails_its_image_alone(base):
    wanted = requests(4)
    bad = torch.full_like(base.encode_prompts(["a man"])[0], float("nan"))
    wanted[1] = dataclasses.replace(wanted[1], prompt=bad)
    good = pixels_of(base, requests(4))
    images = list(sample_images(base, None, wanted, SETTINGS))
    assert [d.reason for d in images] == ["", NOT_FINITE, "", ""]
    assert images[1].pixels is None
    for k in (0, 2, 3):
        assert np.array_equal(images[k].pixels, good[k])


def test_an_image_of_one_colour_fails(tiny_pipeline_folder):
    broken = read_base(
        tiny_pipeline_folder, name="tiny@0", device=torch.device("cpu"), dtype=torch.float32
    )
    torch.nn.init.zeros_(broken.vae.decoder.conv_out.weight)
    torch.nn.init.zeros_(broken.vae.decoder.conv_out.bias)
    (image,) = sample_images(broken, None, requests(1), SETTINGS)
    assert (image.pixels, image.reason) == (None, ONE_COLOUR)


def test_refuses_a_size_that_has_no_latents(base):
    with pytest.raises(ValueError, match=r"multiples of 4 \(GENERATION.SIZE\), got \[30, 16\]"):
        next(sample_images(base, None, requests(1), changed(size=(30, 16))))


def test_refuses_a_distilled_model(base):
    unet = diffusers.UNet2DConditionModel.from_config(base.unet.config, time_cond_proj_dim=8)
    distilled = dataclasses.replace(base, unet=unet)
    with pytest.raises(ValueError, match="takes its guidance as an input"):
        next(sample_images(distilled, None, requests(1), SETTINGS))


@pytest.mark.parametrize("name", ["steps", "batch_size"])
def test_refuses_zero_steps_or_images(base, name):
    with pytest.raises(ValueError, match=rf"expected GENERATION.SAMPLING.{name.upper()} >= 1"):
        next(sample_images(base, None, requests(1), changed(**{name: 0})))


@pytest.fixture
def bank(base):
    bank = LoraBank(base.unet, count=3, rank=2, alpha=2, target_modules=["to_q", "to_v"])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        bank.weights.copy_(0.3 * torch.randn(bank.weights.shape, generator=generator))
    yield bank
    bank.remove()


def adapted(count, adapters):
    return [
        dataclasses.replace(request, adapter=adapters[n % len(adapters)])
        for n, request in enumerate(requests(count))
    ]


def test_each_image_has_the_adapter_of_its_row(base, bank):
    mixed = [image.pixels for image in sample_images(base, bank, adapted(8, [0, 2, -1]), SETTINGS)]
    plain = pixels_of(base, requests(8))
    for k, (image, without) in enumerate(zip(mixed, plain, strict=True)):
        assert np.array_equal(image, without) == (k % 3 == 2)
    # The same row of a run in which all have that adapter.
    all_of_2 = [image.pixels for image in sample_images(base, bank, adapted(8, [2]), SETTINGS)]
    for k in (1, 4, 7):
        assert np.abs(mixed[k].astype(int) - all_of_2[k]).max() <= 1


def test_adapted_image_alone_equals_that_of_a_mixed_run(base, bank):
    wanted = adapted(8, [0, 1, 1, 2, -1])
    run = [image.pixels for image in sample_images(base, bank, wanted, SETTINGS)]
    for k in (0, 2, 4, 7):
        (alone,) = sample_images(base, bank, [wanted[k]], SETTINGS)
        assert np.array_equal(alone.pixels, run[k])


def test_batches_are_full_and_each_row_is_computed_by_itself(base):
    """So small a model has equal bits in batches of any size; larger ones have not."""
    chosen = []
    sizes = {"unet": set(), "vae": set()}

    class Watched(LoraBank):
        def select(self, rows, *, by_row=False):
            chosen.append((len(rows), by_row))
            super().select(rows, by_row=by_row)

    bank = Watched(base.unet, count=3, rank=2, alpha=2, target_modules=["to_q", "to_v"])
    handles = [
        part.register_forward_pre_hook(lambda _, given, name=name: sizes[name].add(len(given[0])))
        for name, part in (("unet", base.unet), ("vae", base.vae.decoder))
    ]
    try:
        wanted = adapted(7, [0, 0, 0, 1, 1, 2, 0])  # the second batch shares an adapter in part
        assert [image.request for image in sample_images(base, bank, wanted, SETTINGS)] == wanted
    finally:
        bank.remove()
        for handle in handles:
            handle.remove()
    both = 2 * SETTINGS.batch_size  # with the negative prompt
    assert chosen == [(both, True)] * 3
    assert sizes == {"unet": {both}, "vae": {SETTINGS.batch_size}}


def test_bank_is_off_afterwards(base, bank):
    plain = pixels_of(base, requests(1))
    next(sample_images(base, bank, adapted(8, [0]), SETTINGS))  # left in the middle
    assert np.array_equal(pixels_of(base, requests(1)), plain)


def test_broken_weights_fail_the_images_of_their_identity_alone(base, bank):
    with torch.no_grad():
        bank.weights[1] = float("nan")
    images = list(sample_images(base, bank, adapted(6, [0, 1, 2]), SETTINGS))
    assert [d.reason for d in images] == ["", NOT_FINITE, ""] * 2


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second CUDA device")
def test_to_host_waits_for_the_device_of_the_tensors():
    device = torch.device("cuda:1")
    large = torch.rand(4096, 4096, device=device)
    for _ in range(50):  # the device is busy when the copy is asked for
        large = large @ large / large.norm()
    expected = large + 1
    on_host, arrival = to_host(expected)
    arrival.synchronize()
    torch.testing.assert_close(on_host.clone(), expected.cpu())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(tiny_pipeline_folder, base):
    """The same images as on the CPU, and an image alone as in a mixed run."""
    device = torch.device("cuda")
    on_gpu = read_base(tiny_pipeline_folder, name="tiny@0", device=device, dtype=torch.float32)
    found = np.stack(pixels_of(on_gpu, requests(8))).astype(int)
    assert np.abs(found - np.stack(pixels_of(base, requests(8)))).mean() < 1
    bank = LoraBank(on_gpu.unet, count=2, rank=2, alpha=2, target_modules=["to_q"])
    torch.nn.init.normal_(bank.weights, std=0.3)
    wanted = adapted(8, [0, 1, 1, -1])
    run = [image.pixels for image in sample_images(on_gpu, bank, wanted, SETTINGS)]
    for k in (0, 2, 3, 7):
        (alone,) = sample_images(on_gpu, bank, [wanted[k]], SETTINGS)
        assert np.abs(alone.pixels.astype(int) - run[k]).max() <= 1
