"""The benchmark of the pose-guided generator: exact parts, equal images, sizes, goals."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fastreid_ext.diffusion.pose_guided.guided_unet import predict, reference_features
from fastreid_ext.diffusion.tiny.models import seeded
from measuring import pose_sampling
from measuring.pose_generator import DENOISER, GUIDERS, REFERENCE, PartClock, random_generator
from measuring.pose_sampling import CACHED, UNCACHED, IdentityImages, SamplingFigures
from measuring.pose_training import (
    UPDATE,
    MeasuredTraining,
    TrainingFigures,
    measure_training,
    random_batch,
)

CPU = torch.device("cpu")
TOOL = Path(__file__).parents[3] / "tools" / "benchmarks" / "pose_guided.py"


def training(*, checkpointing=False):
    pipeline = random_generator("test", CPU)
    if checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.reference_unet.enable_gradient_checkpointing()
    with seeded(2):  # not zero, or no gradient would reach the guiders
        torch.nn.init.normal_(pipeline.pose_guider.projection.weight, std=0.1)
    return MeasuredTraining(pipeline, random_batch(pipeline, (32, 16), 3), torch.float32)


def gradients(measured):
    return {name: p.grad for name, p in measured.module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_in_parts_are_those_of_the_whole_step(checkpointing):
    whole = training(checkpointing=checkpointing)
    whole.loss().backward()
    parts = training(checkpointing=checkpointing)
    parts.backward_in_parts(PartClock(CPU))
    expected = gradients(whole)
    found = gradients(parts)
    assert all(grad is not None and grad.any() for grad in expected.values())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_a_step_changes_what_a_training_changes():
    measured = training()
    before = {name: p.clone() for name, p in measured.module.named_parameters()}
    measured.step()
    for name, parameter in measured.module.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_shares_of_a_training_step():
    pipeline = random_generator("test", CPU)
    figures = measure_training(pipeline, (32, 16), rows=2, rounds=1, dtype=torch.float32)
    assert set(figures.shares) == {REFERENCE, GUIDERS, DENOISER, UPDATE, "rest"}
    assert sum(figures.shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in figures.shares.values())
    assert figures.rows == 2
    assert figures.peak_bytes > 50e6


def test_the_clock_adds_forward_passes_by_hand(monkeypatch):
    """Each reading of the clock is a second later than the one before."""
    ticks = iter(range(100))
    monkeypatch.setattr(PartClock, "now", lambda self: next(ticks))
    clock = PartClock(CPU)
    inner = nn.Linear(2, 2)
    outer = nn.Sequential(inner, nn.ReLU(), inner)
    with clock.forward_passes({"inner": inner, "outer": outer}):
        outer(torch.rand(1, 2))
    outer(torch.rand(1, 2))  # no longer on the clock
    with clock.part("inner"):
        pass
    assert clock.seconds == {"inner": 3, "outer": 5}
    assert clock.shares(16) == {"inner": 3 / 16, "outer": 5 / 16, "rest": 8 / 16}


def images_of_identity(pipeline, count=3):
    generator = torch.Generator().manual_seed(0)
    pipeline.set_progress_bar_config(disable=True)
    reference = torch.randint(256, (1, 3, 32, 16), generator=generator, dtype=torch.uint8)
    conditions = torch.rand(count, 7, 32, 16, generator=generator)
    return IdentityImages(pipeline, reference, conditions, batch_size=2, steps=2, guidance=3.5)


def test_references_are_read_once_or_for_each_image():
    pipeline = random_generator("test", CPU)
    work = images_of_identity(pipeline)
    rows = []
    with pipeline.reference_unet.register_forward_hook(lambda _, inputs, __: rows.append(inputs)):
        counts = {}
        for name in ("cached", "uncached", "one_by_one"):
            rows.clear()
            assert getattr(work, name)().shape == (3, 3, 32, 16)
            counts[name] = [len(inputs[0]) for inputs in rows]
    assert counts == {"cached": [1], "uncached": [2, 1], "one_by_one": [1, 1, 1]}


def measured_sampling(pipeline):
    return pose_sampling.measure_sampling(
        pipeline, (32, 16), images=3, batch_size=2, steps=2, guidance=3.5, rounds=1
    )


def test_figures_of_sampling():
    figures = measured_sampling(random_generator("test", CPU))
    assert figures.is_equal
    assert figures.largest_difference <= 1
    assert figures.images_per_second == 3 / figures.seconds[CACHED]
    for name in (CACHED, UNCACHED):
        assert sum(figures.shares[name].values()) == pytest.approx(1)
        assert all(share > 0 for share in figures.shares[name].values())
        assert {REFERENCE, GUIDERS, DENOISER, "decoding"} < set(figures.shares[name])


def test_an_encoder_that_changes_its_mind_is_noticed():
    pipeline = random_generator("test", CPU)
    calls = []

    def drift(module, inputs, output):
        calls.append(True)
        output["image_embeds"] = output["image_embeds"] + len(calls)
        return output

    pipeline.image_encoder.register_forward_hook(drift)
    assert not measured_sampling(pipeline).is_equal


def test_the_large_generator_has_the_sizes_of_stable_diffusion():
    """Millions of parameters, and shapes at 384x192; on "meta", where nothing is computed."""
    pipeline = random_generator("sd1", torch.device("meta"), torch.bfloat16)
    parts = (pipeline.unet, pipeline.reference_unet, pipeline.vae, pipeline.image_encoder)
    counts = [round(sum(w.numel() for w in part.parameters()) / 1e6, 2) for part in parts]
    assert counts == [859.52, 859.52, 83.65, 303.97]
    with torch.device("meta"):
        noisy = torch.empty(4, 4, 48, 24)
        context = torch.empty(4, 1, 768)
        guidance = pipeline.pose_guider(torch.empty(4, 7, 384, 192))
        features = reference_features(pipeline.reference_unet, noisy, context)
        steps = torch.zeros(4, dtype=torch.long)
        predicted = predict(pipeline.unet, noisy, steps, context, guidance, features)
    assert guidance.shape == (4, 320, 48, 24)
    assert len(features) == 16
    assert {tokens.shape[1:] for tokens in features.values()} == {
        (1152, 320),
        (288, 640),
        (72, 1280),
        (18, 1280),
    }
    assert predicted.shape == noisy.shape
    assert predicted.dtype == torch.bfloat16


def run_tool(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["pose_guided.py", "--device", "cpu", *words])
    tool = runpy.run_path(str(TOOL))
    return tool["main"](tool["parse"]())


def test_the_tool_runs(monkeypatch, capsys, tmp_path):
    words = ["--size", "test", "--dtype", "float32", "--batch", "2", "--images", "2"]
    words += ["--steps", "1", "--rounds", "1", "--pixels", "16", "8"]
    assert run_tool(monkeypatch, *words, "--output", str(tmp_path / "new" / "found.json")) == 0
    found = json.loads((tmp_path / "new" / "found.json").read_text())
    assert found["training"]["rows"] == 2
    assert found["sampling"]["is_equal"]
    assert found["goals"] == {}
    assert found["figures"]["cached images are equal"]
    assert found["figures"]["share of a step, reference pass"] > 0
    printed = capsys.readouterr().out
    assert "test at 16x8, float32 on cpu" in printed
    assert "read one by one: equal" in printed
    assert "| denoiser " in printed


def test_a_size_between_latents_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"multiples of 4 \(--pixels\), got \[30, 16\]"):
        run_tool(monkeypatch, "--size", "test", "--dtype", "float32", "--pixels", "30", "16")


def test_goals_in_words():
    verdicts = runpy.run_path(str(TOOL))["verdicts"]
    step = TrainingFigures(rows=4, seconds=1.0, shares={}, peak_bytes=int(48.1e9))
    images = SamplingFigures(8, {CACHED: 2.0}, {}, 0, is_equal=True, largest_difference=0)
    assert verdicts(step, images) == {
        "memory of a step": "48.1 GB, goal at most 48: missed",
        "images/s": "4.00, goal at least 4: holds",
    }
    assert verdicts(None, None) == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_figures_on_a_gpu():
    cuda = torch.device("cuda")
    figures = measured_sampling(random_generator("test", cuda, torch.bfloat16))
    assert figures.is_equal
    step = measure_training(
        random_generator("test", cuda), (32, 16), rows=2, rounds=1, dtype=torch.bfloat16
    )
    assert 1e6 < step.peak_bytes < 1e9
