"""Fine-tuning of the whole U-Net against the textbook loop, and the restored base model."""

import copy
import dataclasses

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextModel

from fastreid_ext.diffusion.adapter_files import read_training
from fastreid_ext.generation.fine_tuning.fine_tuned_files import write_fine_tuned
from fastreid_ext.generation.fine_tuning.full_fine_tuning import FullFineTuner
from fastreid_ext.generation.fine_tuning.settings import Failure, FineTuneTask, FineTuningSettings
from fastreid_ext.generation.fine_tuning.trained_token import read_embedding, token_name
from fastreid_ext.generation.fine_tuning.training_rows import TrainingRows

from ..conftest import read_tiny

SETTINGS = FineTuningSettings(method="full", steps=3, base_lr=1e-3, prior_weight=0.5)


def task_of(base, k=0, token="sks"):
    generator = torch.Generator().manual_seed(k)
    pixels = torch.randint(0, 256, (3, 3, 32, 16), dtype=torch.uint8, generator=generator)
    shape = (4, *base.latent_shape((32, 16)))
    return FineTuneTask(
        name=f"Market1501_{k:04d}",
        images=pixels,
        prompt=f"a photo of {token} person, walking",
        reference_prompt="a photo of person, walking",
        reference_latents=(torch.randn(shape, generator=generator), torch.full(shape, 0.01)),
        seed=k,
    )


def by_hand(base, task, settings):
    """One identity, by torch and diffusers alone."""
    unet = copy.deepcopy(base.unet)
    encoder = copy.deepcopy(base.text_encoder)
    parts = [unet, encoder] if settings.text_encoder else [unet]
    trained = [p.requires_grad_() for part in parts for p in part.parameters()]
    optimizer = torch.optim.AdamW(trained, settings.base_lr, weight_decay=settings.weight_decay)
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    ids = base.token_ids([task.prompt, task.reference_prompt])
    losses = []
    for batch in TrainingRows(base, [task], settings).micro_batches(settings.steps, 1000):
        noisy = scheduler.add_noise(batch.clean, batch.noise, batch.steps)
        predicted = unet(noisy, batch.steps, encoder(ids)[0]).sample
        loss = F.mse_loss(predicted[:1], batch.noise[:1])
        loss = loss + settings.prior_weight * F.mse_loss(predicted[1:], batch.noise[1:])
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return losses, unet, encoder


@pytest.mark.parametrize("text_encoder", [False, True])
def test_full_fine_tuning_equals_a_plain_loop_and_restores_the_base(base, text_encoder):
    settings = dataclasses.replace(SETTINGS, text_encoder=text_encoder)
    before = [copy.deepcopy(part.state_dict()) for part in (base.unet, base.text_encoder)]
    reports = []
    tuner = FullFineTuner(base, settings)
    first = tuner.fine_tune(task_of(base), lambda *report: reports.append(report))
    losses, unet, encoder = by_hand(base, task_of(base), settings)
    assert first.losses == pytest.approx(losses, rel=1e-3)
    assert reports == [(3, [pytest.approx(sum(losses) / 3, rel=1e-3)])]
    for name, value in unet.state_dict().items():
        torch.testing.assert_close(first.unet[name], value, rtol=1e-2, atol=2e-4, msg=name)
    assert (first.text_encoder is not None) == text_encoder
    for name, value in encoder.state_dict().items() if text_encoder else ():
        torch.testing.assert_close(first.text_encoder[name], value, rtol=1e-2, atol=2e-4)
    for part, state in zip((base.unet, base.text_encoder), before, strict=True):
        assert not any(p.requires_grad or p.grad is not None for p in part.parameters())
        assert all(torch.equal(value, state[key]) for key, value in part.state_dict().items())
    again = tuner.fine_tune(task_of(base))
    assert again.losses == first.losses


def test_bfloat16_weights_are_trained_in_float32_and_restored(tiny_pipeline_folder):
    half = read_tiny(tiny_pipeline_folder, torch.bfloat16)
    before = copy.deepcopy(half.unet.state_dict())
    result = FullFineTuner(half, SETTINGS).fine_tune(task_of(half))
    assert {value.dtype for value in result.unet.values()} == {torch.float32}
    assert any((result.unet[key] != before[key].float()).any() for key in before)
    assert {p.dtype for p in half.unet.parameters()} == {torch.bfloat16}
    assert all(torch.equal(value, before[key]) for key, value in half.unet.state_dict().items())


def test_files_open_in_diffusers_and_transformers(base, tmp_path):
    settings = dataclasses.replace(SETTINGS, text_encoder=True, token="man", steps=2)
    task = task_of(base, token=token_name("Market1501_0000"))
    result = FullFineTuner(base, settings).fine_tune(task)
    write_fine_tuned(tmp_path, result, base, settings)
    unet = UNet2DConditionModel.from_pretrained(tmp_path, subfolder="unet")
    assert all(torch.equal(v, result.unet[k]) for k, v in unet.state_dict().items())
    encoder = CLIPTextModel.from_pretrained(tmp_path, subfolder="text_encoder")
    state = encoder.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in result.text_encoder.items())
    (token,) = read_embedding(tmp_path)
    assert token == "<Market1501_0000>"
    facts = read_training(tmp_path)
    assert facts["settings"]["method"] == "full"
    assert facts["reference_images"] == 4
    assert len(facts["losses"]) == 2


def test_failure_names_step_and_reason_and_spares_the_next(base):
    tuner = FullFineTuner(base, dataclasses.replace(SETTINGS, base_lr=1e30, max_grad_norm=0.0))
    failure = tuner.fine_tune(task_of(base))
    assert isinstance(failure, Failure)
    assert failure.step == 2
    assert "was not finite at step 2 of 3; lower GENERATION.FINE_TUNING.BASE_LR" in failure.reason
    healthy = FullFineTuner(base, SETTINGS)
    assert healthy.fine_tune(task_of(base, 1)).losses[0] < 10


def test_checkpointing_computes_activations_twice(base):
    calls = []
    block = base.unet.up_blocks[-1].resnets[-1]
    # Before, because the second forward pass ends once all activations are there.
    handle = block.register_forward_pre_hook(lambda *_: calls.append(1))
    found = []
    for is_on in (False, True):
        calls.clear()
        settings = dataclasses.replace(SETTINGS, gradient_checkpointing=is_on)
        result = FullFineTuner(base, settings).fine_tune(task_of(base))
        found.append((len(calls), result))
    handle.remove()
    assert [count for count, _ in found] == [SETTINGS.steps, 2 * SETTINGS.steps]
    for key, value in found[0][1].unet.items():
        torch.testing.assert_close(found[1][1].unet[key], value)
