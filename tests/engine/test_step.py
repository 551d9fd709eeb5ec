"""Our step equals fastreid's, bit by bit."""

import copy
import logging

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling.meta_arch import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage

from fastreid_ext.engine.step import TrainingStep, autocast_dtype

from .tiny import batches, started


@pytest.fixture
def tiny_model(make_cfg):
    cfg = make_cfg(MODEL__HEADS__NUM_CLASSES=8)
    torch.manual_seed(0)
    return cfg, build_model(cfg)


def test_three_steps_equal_fastreids_bit_by_bit(tiny_model):
    cfg, model = tiny_model
    results = []
    for make in (
        lambda *parts: SimpleTrainer(*parts).run_step,
        lambda *parts: started(TrainingStep(*parts, autocast_dtype=None, max_skipped=2)),
    ):
        twin = copy.deepcopy(model)
        run = make(twin, batches(3), *build_optimizer(cfg, twin))
        with EventStorage() as storage:
            for _ in range(3):
                run()
        losses = {name: storage.history(name).values() for name in ("total_loss", "loss_triplet")}
        results.append((twin.state_dict(), losses))
    (theirs, their_losses), (ours, our_losses) = results
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert any(not torch.equal(ours[name], value) for name, value in model.state_dict().items())
    assert our_losses == their_losses


@pytest.mark.parametrize(("name", "scales"), [("bfloat16", False), ("float16", True)])
def test_mixed_precision_lowers_the_loss_and_scales_only_float16(tiny_model, name, scales):
    cfg, model = tiny_model
    batch = batches(1)[0]
    cfg.merge_from_list(["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", name])
    parts = (model, [batch] * 12, *build_optimizer(cfg, model))
    step = TrainingStep(*parts, autocast_dtype=autocast_dtype(cfg), max_skipped=0)
    assert step.autocast_dtype == getattr(torch, name)
    assert (step.grad_scaler is not None) == scales
    with EventStorage() as storage:
        run = started(step)
        for _ in range(12):
            run()
    losses = [value for value, _ in storage.history("total_loss").values()]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("device", "given", "expected"),
    [
        ("cpu", "", "bfloat16"),
        ("cpu", "float16", "float16"),
        ("cuda:1", "", "float16"),
        ("cuda", "bfloat16", "bfloat16"),
    ],
)
def test_dtype_of_mixed_precision_is_that_of_the_device_unless_it_is_set(device, given, expected):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", device, "SOLVER.AMP.DTYPE", given])
    assert autocast_dtype(cfg) is None
    cfg.SOLVER.AMP.ENABLED = True
    assert autocast_dtype(cfg) == getattr(torch, expected)


@pytest.mark.parametrize(("given", "scaling"), [({}, "without"), ({"DTYPE": "float16"}, "with")])
def test_dtype_of_mixed_precision_is_recorded_and_logged(make_cfg, caplog, given, scaling):
    caplog.set_level(logging.INFO)
    keys = {f"SOLVER__AMP__{key}": value for key, value in given.items()}
    cfg = make_cfg(MODEL__HEADS__NUM_CLASSES=8, SOLVER__AMP__ENABLED=True, **keys)
    expected = given.get("DTYPE", "bfloat16")
    assert cfg.SOLVER.AMP.DTYPE == expected
    model = build_model(cfg)
    parts = (model, batches(1), *build_optimizer(cfg, model))
    TrainingStep(*parts, autocast_dtype=autocast_dtype(cfg), max_skipped=0)
    assert f"mixed precision: autocast to {expected}, {scaling} loss scaling" in caplog.text


@pytest.mark.parametrize(("capability", "is_slow"), [("AVX2", True), ("AVX512", False)])
def test_a_cpu_that_emulates_16_bits_is_named(caplog, monkeypatch, capability, is_slow):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    TrainingStep(model, [], optimizer, None, autocast_dtype=torch.bfloat16, max_skipped=0)
    assert ("set SOLVER.AMP.ENABLED False" in caplog.text) == is_slow


def test_full_precision_has_no_dtype_and_no_scaler(tiny_model):
    cfg, model = tiny_model
    step = TrainingStep(
        model,
        batches(1),
        *build_optimizer(cfg, model),
        autocast_dtype=autocast_dtype(cfg),
        max_skipped=0,
    )
    assert (step.autocast_dtype, step.grad_scaler) == (None, None)


def test_says_that_the_model_is_in_eval_mode(tiny_model):
    cfg, model = tiny_model
    step = TrainingStep(
        model, batches(1), *build_optimizer(cfg, model), autocast_dtype=None, max_skipped=0
    )
    model.eval()
    with pytest.raises(RuntimeError, match="expected the model in training mode"):
        started(step)()
