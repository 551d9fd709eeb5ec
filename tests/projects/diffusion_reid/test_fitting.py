import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from projects.DiffusionReID.miniature.fitting import Progress, Schedule, fit

SCHEDULE = Schedule(
    steps=12, batch_size=4, rate=0.05, warm_up=3, average=0.9, checkpoint_every=5, log_every=5
)


class Killed(Exception):
    """Stands for SIGKILL: nothing is written after it."""


def small_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(3, 1)


def resize_image(tmp_path, *, kill_at=None, model=None, schedule=SCHEDULE, worth=1.0):
    """Fit y = sum of x; returns the losses."""
    model = model or small_model()
    calls = []

    def loss_of(rng):
        calls.append(None)
        if len(calls) == kill_at:
            raise Killed
        x = torch.from_numpy(rng.standard_normal((schedule.batch_size, 3), dtype=np.float32))
        return worth * (model(x) - x.sum(1, keepdim=True)).pow(2).mean()

    progress = Progress(stage="line", checkpoint=tmp_path / "checkpoints" / "line.pt", seed=7)
    return fit(model, loss_of, schedule, progress)


def interrupted(tmp_path, **changes):
    with pytest.raises(Killed):
        resize_image(tmp_path, kill_at=9, **changes)
    return tmp_path / "checkpoints" / "line.pt"


def test_loss_falls_and_the_checkpoint_goes(tmp_path):
    losses = resize_image(tmp_path)
    assert len(losses) == SCHEDULE.steps
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert not (tmp_path / "checkpoints" / "line.pt").exists()


def test_interrupted_equals_uninterrupted(tmp_path):
    expected = small_model()
    losses = resize_image(tmp_path / "whole", model=expected)
    interrupted(tmp_path / "cut")
    resumed = small_model()
    assert resize_image(tmp_path / "cut", model=resumed) == losses
    assert torch.equal(resumed.weight, expected.weight)
    assert torch.equal(resumed.bias, expected.bias)


def test_result_is_the_average_of_the_weights(tmp_path):
    last = small_model()
    average = small_model()
    resize_image(tmp_path, model=last, schedule=dataclasses.replace(SCHEDULE, average=0.0))
    resize_image(tmp_path, model=average)
    assert not torch.equal(last.weight, average.weight)


def test_damaged_checkpoint_is_named(tmp_path):
    checkpoint = interrupted(tmp_path)
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"line\.pt: expected a checkpoint.*damaged.*delete it"):
        resize_image(tmp_path)


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    interrupted(tmp_path)
    with pytest.raises(ValueError, match=r'"steps": 13.*got one of .*"steps": 12.*delete it'):
        resize_image(tmp_path, schedule=dataclasses.replace(SCHEDULE, steps=13))


def test_a_loss_that_is_not_finite_stops(tmp_path):
    with pytest.raises(FloatingPointError, match=r"got nan in step 0 of the line; lower its rate"):
        resize_image(tmp_path, worth=float("nan"))


def test_rate_rises_then_falls():
    rates = [SCHEDULE.rate_at(step) for step in range(SCHEDULE.steps + 1)]
    assert rates[:4] == pytest.approx([0.05 / 3, 0.1 / 3, 0.05, 0.05])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0)
