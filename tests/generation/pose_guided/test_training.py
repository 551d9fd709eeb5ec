"""Training of the pose-guided generator: learns, resumes exactly, guards, records."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from fastreid_ext.checks.pose_guided import COMBINATIONS
from fastreid_ext.diffusion.pose_guided import PoseGuidedPipeline, pose_guider
from fastreid_ext.diffusion.pose_guided.guided_unet import predict, reference_features
from fastreid_ext.diffusion.tiny.pose_guided import tiny_pose_guided
from fastreid_ext.generation.pose_guided import training
from fastreid_ext.generation.pose_guided.rows import Batch
from fastreid_ext.generation.pose_guided.trained_generator import (
    TrainedGenerator,
    with_zero_terminal_snr,
)
from fastreid_ext.generation.pose_guided.training import Training, train_generator

REPOSITORY = Path(__file__).resolve().parents[3]


def weights(folder):
    pipeline = PoseGuidedPipeline.from_pretrained(folder)
    parts = (pipeline.unet, pipeline.reference_unet, pipeline.pose_guider)
    return {f"{i}.{n}": p for i, part in enumerate(parts) for n, p in part.state_dict().items()}


class Killed(Exception):
    """Ends a training between two checkpoints."""


def kill_after(monkeypatch, step):
    """Let the training die in a step, after its checkpoint of an earlier one."""
    own = Training._step

    def dying(self, number, maps):
        if number == step:
            raise Killed
        return own(self, number, maps)

    monkeypatch.setattr(Training, "_step", dying)


_KILLED_IN_STEP_3 = """
import os, signal, sys
import fastreid_ext
from fastreid_ext.config import load_config
from fastreid_ext.generation.pose_guided.training import Training, train_generator
own = Training._step
def step(self, number, maps):
    loss = own(self, number, maps)
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss
Training._step = step
train_generator(load_config(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_training_ends_as_an_uninterrupted_one(guided_cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(Training, "_finish", Training._save)  # the state after the last step
    changes = {"CHECKPOINT_PERIOD": 3, "SAMPLE_PERIOD": 6}
    train_generator(guided_cfg("whole", **changes))
    killed = guided_cfg("killed", **changes)
    (tmp_path / "killed.yml").write_text(killed.dump())
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-c", _KILLED_IN_STEP_3, str(tmp_path / "killed.yml")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert torch.load(tmp_path / "killed" / "training_state.pth")["step"] == 3
    train_generator(killed)
    states = [
        torch.load(tmp_path / run / "training_state.pth", weights_only=True)
        for run in ("whole", "killed")
    ]
    assert states[0]["step"] == states[1]["step"] == 6
    assert states[0]["average"]
    for part in ("model", "average", "optimizer"):
        torch.testing.assert_close(states[1][part], states[0][part], rtol=0, atol=0)
    pictures = [tmp_path / run / "samples" / "000006.png" for run in ("whole", "killed")]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


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
    listed = json.dumps(record["identities"]).encode()
    assert record["identities_sha256"] == hashlib.sha256(listed).hexdigest()
    with pytest.raises(ValueError, match=r"finished generator of other settings \(base_lr was"):
        train_generator(guided_cfg(BASE_LR=2e-3))
    with pytest.raises(ValueError, match=r"\(iterations was 6, is 9\); repeat them, or choose"):
        train_generator(guided_cfg(ITERATIONS=9))


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
    with pytest.raises(FloatingPointError, match=r"the (loss|gradient) of step \d+ is .*Lower"):
        train_generator(guided_cfg(BASE_LR=0.9, ITERATIONS=200, MAX_GRAD_NORM=0.0))
    state = tmp_path / "run" / "training_state.pth"
    if state.exists():
        model = torch.load(state, weights_only=True)["model"]
        assert all(bool(value.isfinite().all()) for value in model.values())


def test_a_gradient_that_is_not_finite_is_found_before_the_weights_are_spoilt(
    guided_cfg, monkeypatch, tmp_path
):
    own = TrainedGenerator.forward
    calls = []

    def forward(self, one):
        calls.append(one)
        loss = own(self, one)
        if len(calls) == 3:  # the loss is finite, its gradient is not
            loss = loss + (loss - loss.detach()).clamp(min=0).sqrt()
        return loss

    monkeypatch.setattr(TrainedGenerator, "forward", forward)
    with pytest.raises(FloatingPointError, match=r"the gradient of step 3 is nan; the checkpoint"):
        train_generator(guided_cfg(CHECKPOINT_PERIOD=1))
    state = torch.load(tmp_path / "run" / "training_state.pth", weights_only=True)
    assert state["step"] == 2
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


def test_rows_are_shared_equally():
    training._expect_equal_shares(8, 4)
    with pytest.raises(ValueError, match=r"BATCH_SIZE to be a multiple of the 3 processes, got 4"):
        training._expect_equal_shares(4, 3)


def test_what_a_training_needs_is_said_at_once(guided_cfg):
    cfg = guided_cfg()
    cfg.defrost()
    cfg.DATASETS.NAMES = ()
    cfg.GENERATION.DTYPE = "float16"
    with pytest.raises(ValueError, match=r"DATASETS\.NAMES is empty.*\n.*DTYPE is float16"):
        train_generator(cfg)


def test_the_checks_know_the_ways_to_join_conditions():
    assert COMBINATIONS == pose_guider.COMBINATIONS


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
