"""Epochs and learning rates against the rules written out."""

from pathlib import Path

import pytest
import torch
from fastreid.engine.hooks import HookBase, LRScheduler
from fastreid.utils.events import EventStorage

from fastreid_ext.config import load_config
from fastreid_ext.engine.schedule import (
    StairWarmupLR,
    build_lr_scheduler,
    epochs_before_decay,
    iterations_per_epoch,
    warmup_iterations,
    with_warmup,
)

from .tiny import overrides

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
RECIPE = PROJECTS / "BDB/configs/Base-BDB.yml"
ONCE = {"DATALOADER__SAMPLER_TRAIN": "OncePerIdentitySampler"}
STAIRS = {"SOLVER__SCHED": "StairWarmupLR", "SOLVER__WARMUP_ITERS": 0}


def cfg_of(**changes):
    return load_config("", overrides("", "", **changes))


def optimizer_of(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates]
    return torch.optim.Adam(groups)


def bdb_rule(epoch):
    """Return the rate of an epoch counted from 1, as its authors give it."""
    if epoch < 50:
        return 1e-4 * (epoch // 5 + 1)
    if epoch < 200:
        return 1e-3
    if epoch < 300:
        return 1e-4
    return 1e-5


def rates_of(scheduler, optimizer, epochs):
    """Return the rate of each epoch; the hook steps after it."""
    rates = []
    for _ in range(epochs):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


def test_all_400_epochs_have_the_rates_of_bdb():
    cfg = cfg_of(**STAIRS, SOLVER__STEPS=[199, 299], SOLVER__MAX_EPOCH=400)
    optimizer = optimizer_of(1e-3, 2e-3)
    schedules = build_lr_scheduler(cfg, optimizer, 23)
    assert set(schedules) == {"lr_sched"}
    rates = rates_of(schedules["lr_sched"], optimizer, 400)
    for epoch, (one, two) in enumerate(rates, start=1):
        assert one == pytest.approx(bdb_rule(epoch), rel=1e-12), epoch
        assert two == pytest.approx(2 * bdb_rule(epoch), rel=1e-12), epoch


def test_recipe_has_them_too():
    cfg = load_config(RECIPE, ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False])
    optimizer = optimizer_of(cfg.SOLVER.BASE_LR)
    schedule = build_lr_scheduler(cfg, optimizer, 23)["lr_sched"]
    rates = rates_of(schedule, optimizer, cfg.SOLVER.MAX_EPOCH)
    assert [rate for (rate,) in rates] == pytest.approx([bdb_rule(e) for e in range(1, 401)])


class Counted(HookBase):
    """Stand in for a trainer, which calls fastreid's hook after steps and epochs."""

    def __init__(self, cfg, iterations):
        optimizer = optimizer_of(cfg.SOLVER.BASE_LR)
        cfg = with_warmup(cfg, iterations)
        schedules = build_lr_scheduler(cfg, optimizer, iterations)
        self.hook = LRScheduler(optimizer, schedules)
        self.hook.trainer = self
        self.storage = EventStorage()
        self.grad_scaler = None
        self.warmup_iters = cfg.SOLVER.WARMUP_ITERS
        self.delay_epochs = epochs_before_decay(cfg, iterations)
        self.rates = []
        for self.epoch in range(cfg.SOLVER.MAX_EPOCH):
            self.rates.append(optimizer.param_groups[0]["lr"])
            for number in range(iterations):
                self.iter = self.epoch * iterations + number
                optimizer.step()
                self.hook.after_step()
            self.hook.after_epoch()


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        (
            "DomainGeneralisation/configs/Base-MetaBIN.yml",
            {0: 1e-4, 5: 0.00505, 10: 0.01, 39: 0.01, 40: 1e-3, 69: 1e-3, 70: 1e-4, 99: 1e-4},
        ),
        (
            "DCAC/configs/Base-DCAC-baseline.yml",
            {0: 5e-7, 10: 5e-6, 29: 5e-6, 30: 5e-7, 49: 5e-7, 50: 5e-8, 59: 5e-8},
        ),
        (
            "VisibleInfrared/configs/Base-AGW-VI.yml",
            {10: 0.1, 19: 0.1, 20: 0.01, 49: 0.01, 50: 0.001, 79: 0.001},
        ),
    ],
)
def test_steps_are_epochs_of_the_run_where_warm_up_is_in_epochs(recipe, rates):
    cfg = load_config(PROJECTS / recipe, ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False])
    found = Counted(cfg, iterations=8).rates
    assert {epoch: found[epoch] for epoch in rates} == pytest.approx(rates, rel=1e-6)


def test_a_step_within_the_warm_up_is_refused():
    with pytest.raises(ValueError, match=r"above SOLVER.WARMUP_EPOCHS 5, got 4"):
        cfg_of(SOLVER__WARMUP_EPOCHS=5, SOLVER__STEPS=[4, 8], SOLVER__MAX_EPOCH=9)


@pytest.mark.parametrize("epoch", [1, 4, 49, 198, 199, 300])
def test_resumed_schedule_continues(epoch, tmp_path):
    arguments = {"stairs": 10, "stair_epochs": 5, "milestones": [199, 299], "gamma": 0.1}
    whole = optimizer_of(1e-3)
    again = optimizer_of(1e-3)
    first = StairWarmupLR(whole, **arguments)
    rates_of(first, whole, epoch)
    torch.save({"lr": first.state_dict(), "adam": whole.state_dict()}, tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    second = StairWarmupLR(again, **arguments)
    again.load_state_dict(state["adam"])
    second.load_state_dict(state["lr"])
    assert rates_of(second, again, 9) == rates_of(first, whole, 9)


def test_stairs_of_other_sizes():
    optimizer = optimizer_of(1.0)
    schedule = StairWarmupLR(optimizer, stairs=4, stair_epochs=1, milestones=[6], gamma=0.5)
    rates = rates_of(schedule, optimizer, 8)
    assert [rate for (rate,) in rates] == [0.5, 0.75, 1, 1, 1, 1, 0.5, 0.5]


def test_fastreids_schedules_are_left_alone():
    schedules = build_lr_scheduler(cfg_of(SOLVER__WARMUP_ITERS=4), optimizer_of(1e-3), 6)
    assert set(schedules) == {"lr_sched", "warmup_sched"}
    assert type(schedules["lr_sched"]).__name__ == "MultiStepLR"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SOLVER__WARMUP_ITERS": 5}, "StairWarmupLR warms up itself.*WARMUP_ITERS is 5; set it"),
        ({"SOLVER__DELAY_EPOCHS": 2}, "SOLVER.DELAY_EPOCHS is 2; set it to 0"),
        ({"SOLVER__STAIRS__COUNT": 0}, "expected SOLVER.STAIRS.COUNT of at least 1, got 0"),
        ({"SOLVER__STAIRS__EPOCHS": 0}, "expected SOLVER.STAIRS.EPOCHS of at least 1, got 0"),
    ],
)
def test_contradictions_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        cfg_of(**STAIRS | changes)


@pytest.mark.parametrize(
    ("changes", "persons", "iterations"),
    [
        ({}, 751, 12936 // 128),
        (ONCE, 751, 23),  # 751 x 4 / 128
        (ONCE, 64, 2),
        (ONCE | {"SOLVER__IMS_PER_BATCH": 64}, 70, 4),  # 6 persons are left over
    ],
)
def test_length_of_an_epoch(changes, persons, iterations):
    keys = {"SOLVER__IMS_PER_BATCH": 128, "DATALOADER__NUM_INSTANCE": 4}
    assert iterations_per_epoch(cfg_of(**keys | changes), 12936, persons) == iterations


def test_warm_up_in_epochs_takes_the_place_of_that_in_iterations():
    in_epochs = cfg_of(SOLVER__WARMUP_EPOCHS=3, SOLVER__MAX_EPOCH=9)
    assert warmup_iterations(in_epochs, 101) == 303
    assert warmup_iterations(cfg_of(SOLVER__WARMUP_ITERS=4), 101) == 4
    filled = with_warmup(in_epochs, 101)
    assert (filled.SOLVER.WARMUP_ITERS, in_epochs.SOLVER.WARMUP_ITERS) == (303, 1000)
    assert filled.is_frozen()


def test_a_warm_up_in_epochs_leaves_the_cosine_the_rest():
    keys = {"SOLVER__SCHED": "CosineAnnealingLR", "SOLVER__MAX_EPOCH": 300}
    cfg = with_warmup(cfg_of(**keys, SOLVER__WARMUP_EPOCHS=20), 1500)
    schedules = build_lr_scheduler(cfg, optimizer_of(4e-3), 1500)
    assert schedules["lr_sched"].T_max == 280
    assert schedules["warmup_sched"].warmup_iters == 30000


def test_rate_of_ice_rises_for_ten_epochs_and_stays():
    recipe = RECIPE.parents[2] / "Unsupervised/configs/Base-ICE.yml"
    cfg = load_config(recipe, ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False])
    optimizer = optimizer_of(cfg.SOLVER.BASE_LR)
    schedules = build_lr_scheduler(with_warmup(cfg, 400), optimizer, 400)
    rates = {}
    for iteration in range(4401):
        if iteration % 400 == 0:
            rates[iteration // 400] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        if iteration < 4000:  # as fastreid's hook
            schedules["warmup_sched"].step()
    assert rates[0] == pytest.approx(3.5e-5)
    assert rates[5] == pytest.approx(1.925e-4)
    assert rates[10] == rates[11] == pytest.approx(3.5e-4)
    assert not schedules["lr_sched"].milestones
