"""Fine-tuning of several identities at once against peft and plain loops for each alone."""

import copy

import pytest
import torch
from diffusers import DDPMScheduler
from fastreid.config import get_cfg
from peft import LoraConfig
from torch.nn import functional as F

from fastreid_ext.config import add_fastreid_ext_config, load_config
from fastreid_ext.diffusion.stable_diffusion import load_base
from fastreid_ext.generation.fine_tuning.dreambooth import IdentityLosses, fine_tune
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.fine_tuning.settings import Failure, FineTuneTask, FineTuningSettings
from fastreid_ext.generation.fine_tuning.training_rows import TrainingRows

SETTINGS = FineTuningSettings(rank=2, alpha=4, steps=3, base_lr=1e-2, prior_weight=0.5)


@pytest.fixture(scope="module")
def references(base):
    generator = torch.Generator().manual_seed(9)
    shape = (5, *base.latent_shape((32, 16)))
    return torch.randn(shape, generator=generator), torch.full(shape, 0.01)


def task_of(k, references=None):
    generator = torch.Generator().manual_seed(k)
    pixels = torch.randint(0, 256, (3, 3, 32, 16), dtype=torch.uint8, generator=generator)
    words = ("a man in a white t-shirt", "a woman in a yellow shirt", "a man in a black coat")[k]
    return FineTuneTask(
        name=f"Market1501_{k:04d}",
        images=pixels,
        prompt=f"a photo of sks person, {words}",
        reference_prompt=f"a photo of person, {words}",
        reference_latents=references,
        seed=100 + k,
    )


def changed(settings, **values):
    return FineTuningSettings(**{**vars(settings), **values})


def by_peft(base, task, settings):
    """The textbook loop for one identity: peft, diffusers' noise, torch's clipping and AdamW."""
    rows = TrainingRows(base, [task], settings)
    start = LoraBank(
        base.unet,
        count=1,
        rank=settings.rank,
        alpha=settings.alpha,
        target_modules=settings.target_modules,
    )
    start.reset(0, rows.generators[0])
    start.remove()
    unet = copy.deepcopy(base.unet).requires_grad_(False)
    targets = list(settings.target_modules)
    unet.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets))
    named = dict(unet.named_parameters())
    with torch.no_grad():
        for key, value in start.state_of(0).items():
            named[key.replace(".weight", ".default.weight")].copy_(value)
    trained = [parameter for parameter in named.values() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, settings.base_lr, weight_decay=settings.weight_decay)
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    own, prior = base.encode_prompts([task.prompt, task.reference_prompt])
    m = settings.batch_size
    losses = []
    batches = rows.micro_batches(settings.steps * settings.gradient_accumulation, 1000)
    for _ in range(settings.steps):
        total = 0.0
        for _ in range(settings.gradient_accumulation):
            batch = next(batches)
            noisy = scheduler.add_noise(batch.clean, batch.noise, batch.steps)
            context = torch.stack([own] * m + [prior] * (len(noisy) - m))
            predicted = unet(noisy, batch.steps, context).sample
            loss = F.mse_loss(predicted[:m], batch.noise[:m])
            if len(noisy) > m:
                loss = loss + settings.prior_weight * F.mse_loss(predicted[m:], batch.noise[m:])
            (loss / settings.gradient_accumulation).backward()
            total += loss.item() / settings.gradient_accumulation
        losses.append(total)
        if settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    state = {
        name.replace(".default", ""): parameter.detach()
        for name, parameter in named.items()
        if parameter.requires_grad
    }
    return losses, state


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"gradient_accumulation": 2, "batch_size": 2, "max_grad_norm": 0.05},
        {"max_grad_norm": 0.0},
    ],
)
def test_fine_tune_group_equals_peft_of_each_alone(base, references, values):
    settings = changed(SETTINGS, **values)
    tasks = [task_of(0, references), task_of(1, references), task_of(2)]  # the last has no set
    results = fine_tune(base, tasks, settings)
    assert [result.name for result in results] == [task.name for task in tasks]
    for task, result in zip(tasks, results, strict=True):
        losses, state = by_peft(base, task, settings)
        torch.testing.assert_close(result.losses, losses, rtol=1e-3, atol=1e-5)
        assert result.adapter.keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(result.adapter[name], value, rtol=1e-2, atol=1e-4, msg=name)


def test_fine_tune_leaves_the_base_model_unchanged(base, references):
    before = copy.deepcopy(base.unet.state_dict())
    fine_tune(base, [task_of(0, references)], changed(SETTINGS, gradient_checkpointing=True))
    assert not any(module._forward_hooks for module in base.unet.modules())
    assert not base.unet.is_gradient_checkpointing
    assert all(torch.equal(value, before[key]) for key, value in base.unet.state_dict().items())


def test_checkpointing_gives_equal_losses(base, references):
    tasks = [task_of(0, references)]
    (kept,) = fine_tune(base, tasks, SETTINGS)
    (twice,) = fine_tune(base, tasks, changed(SETTINGS, gradient_checkpointing=True))
    torch.testing.assert_close(kept.losses, twice.losses)


def test_loss_falls_below_that_without_training(base):
    reports = []
    settings = changed(SETTINGS, steps=60)
    (trained,) = fine_tune(base, [task_of(0)], settings, lambda *report: reports.append(report))
    (idle,) = fine_tune(base, [task_of(0)], changed(settings, base_lr=1e-12))
    assert [step for step, _ in reports] == [50, 60]
    assert reports[0][1][0] == pytest.approx(sum(trained.losses[:50]) / 50, rel=1e-4)
    assert sum(trained.losses[-20:]) < 0.95 * sum(idle.losses[-20:])


def test_identity_that_is_not_finite_fails_alone(base, references):
    mean, std = references
    poisoned = (torch.full_like(mean, float("nan")), std)
    good = [task_of(0, references), task_of(2, references)]
    bad = [good[0], task_of(1, poisoned), good[1]]
    first, failure, last = fine_tune(base, bad, SETTINGS)
    assert isinstance(failure, Failure)
    assert failure.name == "Market1501_0001"
    assert failure.step == 1
    assert "the loss was not finite at step 1 of 3; lower GENERATION.FINE" in failure.reason
    healthy = fine_tune(base, [good[0], task_of(1, references), good[1]], SETTINGS)
    for result, expected in ((first, healthy[0]), (last, healthy[2])):
        assert result.losses == expected.losses
        assert all(
            torch.equal(result.adapter[key], expected.adapter[key]) for key in expected.adapter
        )


def test_fine_tune_stops_when_all_identities_failed(base):
    steps = []
    settings = changed(SETTINGS, steps=200, base_lr=1e30, max_grad_norm=0.0)
    (failure,) = fine_tune(base, [task_of(0)], settings, lambda step, _: steps.append(step))
    assert isinstance(failure, Failure)
    assert 1 < failure.step < 10
    assert steps == [50]


def test_bfloat16_losses_are_close_to_float32(base, references, tiny_pipeline_folder):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.GENERATION.BASE_MODEL = str(tiny_pipeline_folder)
    half = load_base(cfg, device="cpu")
    assert half.dtype == torch.bfloat16
    (rough,) = fine_tune(half, [task_of(0, references)], SETTINGS)
    (exact,) = fine_tune(base, [task_of(0, references)], SETTINGS)
    assert rough.losses == pytest.approx(exact.losses, rel=0.05)
    assert all(value.dtype == torch.float32 for value in rough.adapter.values())


def test_fine_tune_refuses_bad_tasks(base, references):
    half = copy.copy(base)
    object.__setattr__(half, "dtype", torch.float16)
    with pytest.raises(ValueError, match=r"bfloat16 or float32 for fine-tuning, got float16"):
        fine_tune(half, [task_of(0)], SETTINGS)
    with pytest.raises(ValueError, match=r"expected tasks with a name each, got none"):
        fine_tune(base, [], SETTINGS)
    with pytest.raises(
        ValueError, match=r"expected tasks with a name each, got \['Market1501_0000"
    ):
        fine_tune(base, [task_of(0), task_of(0)], SETTINGS)
    other = FineTuneTask(name="b", images=torch.zeros(1, 3, 32, 32, dtype=torch.uint8), prompt="a")
    with pytest.raises(ValueError, match=r"all of one size, got sizes \[\(3, 32, 16\), \(3, 32, 3"):
        fine_tune(base, [task_of(0), other], SETTINGS)
    wrong = (references[0][:, :, :2], references[1][:, :, :2])
    with pytest.raises(ValueError, match=r"expected reference latents \(R, 4, 8, 4\) for Market"):
        fine_tune(base, [task_of(0, wrong)], SETTINGS)


def test_adapters_are_decayed_as_by_adamw(base, references):
    """After one step, decayed weights lack rate * decay * initial weights."""
    one = changed(SETTINGS, steps=1, weight_decay=0.0)
    [start] = fine_tune(base, [task_of(0, references)], changed(one, base_lr=1e-12))
    [plain] = fine_tune(base, [task_of(0, references)], one)
    [decayed] = fine_tune(base, [task_of(0, references)], changed(one, weight_decay=20.0))
    assert any(value.any() for value in start.adapter.values())
    for key, value in plain.adapter.items():
        lost = one.base_lr * 20.0 * start.adapter[key]
        torch.testing.assert_close(decayed.adapter[key], value - lost, atol=1e-6, rtol=1e-4)


def test_checkpointing_computes_activations_twice(base, references):
    calls = []
    block = base.unet.up_blocks[-1].resnets[-1]
    # A pre-hook, because the second forward pass ends once all activations are there.
    handle = block.register_forward_pre_hook(lambda *_: calls.append(1))
    found = []
    for is_on in (False, True):
        calls.clear()
        settings = changed(SETTINGS, gradient_checkpointing=is_on)
        [result] = fine_tune(base, [task_of(0, references)], settings)
        found.append((len(calls), result))
    handle.remove()
    assert [count for count, _ in found] == [SETTINGS.steps, 2 * SETTINGS.steps]
    for key, value in found[0][1].adapter.items():
        torch.testing.assert_close(found[1][1].adapter[key], value)


def test_configuration_chooses_the_loss(base, references):
    keys = "GENERATION.FINE_TUNING."
    pairs = [f"{keys}LOSS_ON", "sample", f"{keys}MAX_SAMPLE_WEIGHT", "2.0"]
    pairs += [f"{keys}PRIOR_WEIGHT", "0.25"]
    settings = FineTuningSettings.from_config(load_config("", ["MODEL.DEVICE", "cpu", *pairs]))
    assert settings.prior_weight == 0.25
    rows = TrainingRows(base, [task_of(0, references)], settings)
    (batch,) = rows.micro_batches(1, 1000)
    context = base.encode_prompts(["a man"] * 2)
    plain = IdentityLosses(base, rows, SETTINGS, 1).of_rows(batch, context)
    capped = IdentityLosses(base, rows, settings, 1).of_rows(batch, context)
    signal = DDPMScheduler.from_config(base.scheduler.config).alphas_cumprod[batch.steps]
    weight = (signal / (1 - signal)).clamp(max=2.0) * (1 - signal) / signal
    torch.testing.assert_close(capped, plain * weight)
