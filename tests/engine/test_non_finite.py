"""Steps with a NaN loss leave no trace, are bounded, and name their images."""

import copy

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage

from fastreid_ext.engine.non_finite import describe
from fastreid_ext.engine.step import TrainingStep

from .tiny import batches, started


@pytest.fixture
def poisoned_step(make_cfg):
    """Return a step whose second and fourth batch hold a NaN pixel, and its model."""

    def make(max_skipped: int) -> tuple:
        cfg = make_cfg(MODEL__HEADS__NUM_CLASSES=8)
        torch.manual_seed(0)
        model = build_model(cfg)
        sampled = batches(5)
        for index in (1, 3):
            sampled[index]["images"][2, 0, 5, 5] = float("nan")
        optimizer, wrapper = build_optimizer(cfg, model)
        step = TrainingStep(
            model, sampled, optimizer, wrapper, autocast_dtype=None, max_skipped=max_skipped
        )
        return step, model

    return make


def test_a_skipped_step_leaves_weights_and_running_statistics(poisoned_step):
    step, model = poisoned_step(max_skipped=1)
    with EventStorage():
        run = started(step)
        assert run() is True
        before = copy.deepcopy(model.state_dict())
        assert run() is False
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert run() is True  # and learning goes on
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert step.non_finite.skipped == 1


def test_stops_past_the_bound_naming_images_and_terms(poisoned_step):
    step, _ = poisoned_step(max_skipped=1)
    with EventStorage():
        run = started(step)
        for _ in range(3):
            run()
        with pytest.raises(FloatingPointError) as error:
            run()
    words = str(error.value)
    assert "loss is NaN or infinite at iteration 0" in words
    assert "loss_cls = nan" in words
    assert "pixels are not finite in: 2.jpg" in words
    assert "images of the batch: 0.jpg, 1.jpg" in words
    assert "MAX_SKIPPED allows 1 skipped steps" in words


def test_stops_at_the_first_by_default(poisoned_step):
    step, _ = poisoned_step(max_skipped=0)
    with EventStorage():
        run = started(step)
        run()
        with pytest.raises(FloatingPointError, match="allows 0 skipped steps"):
            run()


def test_describes_nothing_where_all_is_finite():
    assert describe({"loss": 1.0}, {}) == ""
