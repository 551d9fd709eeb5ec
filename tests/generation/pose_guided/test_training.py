"""Training of the pose-guided generator: learns, resumes exactly, guards, records."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline
from fastreid_ext.diffusion.pose_guided.guided_unet import predict, reference_features
from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided
from fastreid_ext.generation.pose_guided import training
from fastreid_ext.generation.pose_guided.rows import Batch
from fastreid_ext.generation.pose_guided.trained_generator import (
    TrainedGenerator,
    with_zero_terminal_snr,
)
from fastreid_ext.generation.pose_guided.training import Training, train_generator


def weights(folder):
    pipeline = PoseGuidedPipeline.from_pretrained(folder)
    parts = (pipeline.unet, pipeline.reference_unet, pipeline.pose_guider)
    return {f"{i}.{n}": p for i, part in enumerate(parts) for n, p in part.state_dict().items()}


class Killed(Exception):
    """Stands for a kill -9: nothing is cleaned up."""


def kill_after(monkeypatch, step):
    """Let the training die in a step, after its checkpoint of an earlier one."""
    own = Training._step

    def dying(self, number, maps):
        if number == step:
            raise Killed
        return own(self, number, maps)

    monkeypatch.setattr(Training, "_step", dying)


@pytest.mark.slow
def test_training_continues_exactly_after_a_kill(guided_cfg, monkeypatch, tmp_path):
    whole = train_generator(guided_cfg("whole"))
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(Killed):
            train_generator(guided_cfg("resumed"))
    assert not (tmp_path / "resumed" / "generator").exists()
    resumed = train_generator(guided_cfg("resumed"))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    lines = (tmp_path / "resumed" / "metrics.jsonl").read_text().splitlines()
    expected = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    assert [json.loads(line)["step"] for line in lines] == [6]
    # The mean over the steps since the last report, of which the second run has two.
    assert json.loads(lines[-1])["step"] == expected["step"]


@pytest.mark.slow
def test_training_moves_every_trained_part_and_no_frozen_one(guided_cfg, start_folder):
    found = weights(train_generator(guided_cfg()))
    before = weights(start_folder)
    moved = {name for name in before if not torch.equal(found[name], before[name])}
    assert {name.split(".")[0] for name in moved} == {"0", "1", "2"}
    assert not any(".attn2.to_q" in name or ".attn2.to_k" in name for name in moved)
    start = PoseGuidedPipeline.from_pretrained(start_folder)
    trained = PoseGuidedPipeline.from_pretrained(guided_cfg().OUTPUT_DIR + "/generator")
    for part in ("vae", "image_encoder"):
        expected = dict(getattr(start, part).state_dict())
        torch.testing.assert_close(
            dict(getattr(trained, part).state_dict()), expected, rtol=0, atol=0
        )


@pytest.mark.slow
def test_a_finished_training_does_nothing(guided_cfg, monkeypatch):
    folder = train_generator(guided_cfg())
    monkeypatch.setattr(training, "training_images", None)
    assert train_generator(guided_cfg()) == folder


@pytest.mark.slow
def test_the_generator_records_its_identities(guided_cfg):
    record = json.loads((train_generator(guided_cfg()) / "training.json").read_text())
    assert record["identities"] == {"RenderedCampus": [1, 2, 3, 4, 5, 6]}
    assert record["steps"] == 6


@pytest.mark.slow
def test_a_picture_of_samples_is_written(guided_cfg, tmp_path):
    train_generator(guided_cfg())
    picture = np.asarray(Image.open(tmp_path / "run" / "samples" / "000006.png"))
    assert picture.shape[0] > 6 * 128
    assert picture.shape[1] > 6 * 64


@pytest.mark.slow
def test_other_settings_in_the_same_folder_are_refused(guided_cfg, monkeypatch):
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(Killed):
            train_generator(guided_cfg())
    with pytest.raises(ValueError, match=r"base_lr was 0\.001, is 0\.002\); repeat its settings"):
        train_generator(guided_cfg(BASE_LR=2e-3))
    with pytest.raises(ValueError, match=r"those of another \(versions was 2, is 3\); remove"):
        train_generator(guided_cfg(CROPS=3))


def test_a_loss_that_is_not_finite_stops_before_the_checkpoint_is_spoilt(guided_cfg, tmp_path):
    with pytest.raises(FloatingPointError, match=r"the loss of step \d+ is .*Lower"):
        train_generator(guided_cfg(BASE_LR=0.9, ITERATIONS=200, MAX_GRAD_NORM=0.0))
    state = tmp_path / "run" / "training_state.pth"
    if state.exists():
        model = torch.load(state, weights_only=True)["model"]
        assert all(bool(value.isfinite().all()) for value in model.values())


def batch(dropped=0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normal = {"generator": generator}
    context = torch.randn(3, 1, 16, **normal)
    context[:dropped] = 0
    return Batch(
        reference=torch.randn(3, 4, 8, 4, **normal),
        context=context,
        clean=torch.randn(3, 4, 8, 4, **normal),
        noise=torch.randn(3, 4, 8, 4, **normal),
        steps=torch.tensor([10, 500, 990]),
        conditions=torch.randint(0, 256, (3, 7, 32, 16), dtype=torch.uint8, **normal),
        dropped=dropped,
    )


def by_hand(pipeline, one, *, min_snr):
    """Eq. 1 row by row, with the pipeline's own U-Nets and diffusers' own schedule."""
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    losses = []
    for row in range(3):
        part = slice(row, row + 1)
        step = one.steps[part]
        noisy = schedule.add_noise(one.clean[part], one.noise[part], step)
        features = None
        if row >= one.dropped:
            features = reference_features(
                pipeline.reference_unet, one.reference[part], one.context[part]
            )
        guidance = pipeline.pose_guider(one.conditions[part].float() / 255)
        found = predict(pipeline.unet, noisy, step, one.context[part], guidance, features)
        target = one.noise[part]
        snr = schedule.alphas_cumprod[step] / (1 - schedule.alphas_cumprod[step])
        weight = torch.ones(1)
        if schedule.config.prediction_type == "v_prediction":
            target = schedule.get_velocity(one.clean[part], one.noise[part], step)
            weight = snr.clamp(max=min_snr) / (snr + 1) if min_snr else weight
        elif min_snr:
            weight = snr.clamp(max=min_snr) / snr
        losses.append(weight * (found - target).square().mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("min_snr", [0.0, 5.0])
@pytest.mark.parametrize("has_zero_snr", [False, True])
@pytest.mark.parametrize("dropped", [0, 1, 3])
def test_loss_is_the_formula_row_by_row(min_snr, has_zero_snr, dropped):
    pipeline = tiny_pose_guided()
    torch.nn.init.normal_(pipeline.pose_guider.projection.weight, std=0.1)
    if has_zero_snr:
        pipeline.scheduler = with_zero_terminal_snr(pipeline.scheduler)
    model = TrainedGenerator(pipeline, min_snr=min_snr)
    one = batch(dropped)
    expected = by_hand(pipeline, one, min_snr=min_snr)
    torch.testing.assert_close(model(one), expected.squeeze(), rtol=1e-4, atol=1e-6)


def test_every_trained_parameter_has_a_gradient_also_without_a_reference():
    for dropped in (0, 2, 3):
        model = TrainedGenerator(tiny_pose_guided())
        model(batch(dropped)).backward()
        missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []


def test_the_zero_snr_schedule_ends_in_pure_noise():
    schedule = with_zero_terminal_snr(tiny_pose_guided().scheduler)
    assert schedule.alphas_cumprod[-1] == 0
    schedule.set_timesteps(20)
    assert schedule.timesteps[0] == 999
    assert schedule.config.prediction_type == "v_prediction"
