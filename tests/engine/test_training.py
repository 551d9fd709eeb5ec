"""Whole runs of the trainer in this process."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer, evaluate, train
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.setup import prepare_run

from .tiny import overrides


def weights(path: str | Path, name: str = "model_final") -> dict[str, Tensor]:
    return read_checkpoint(Path(path) / f"{name}.pth")["model"]


def assert_equal_weights(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def metrics(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in (Path(path) / "metrics.json").read_text().splitlines()]


@pytest.fixture(scope="module")
def reference(market_root, tmp_path_factory):
    """Return configuration and results of one whole run of three epochs with evaluation."""
    output = tmp_path_factory.mktemp("reference")
    cfg = load_config("", overrides(market_root, output, **THREE_EPOCHS))
    return cfg, train(cfg)


# Layers thaw in the second epoch, so that a resumed run must know how far it was.
THREE_EPOCHS = {
    "SOLVER__MAX_EPOCH": 3,
    "TEST__EVAL_PERIOD": 1,
    "MODEL__FREEZE_LAYERS": ["backbone"],
    "SOLVER__FREEZE_ITERS": 8,
}


def test_writes_everything_a_run_leaves(reference):
    cfg, results = reference
    folder = Path(cfg.OUTPUT_DIR)
    assert results["Market1501"]["Rank-1"] > 0
    lines = metrics(folder)
    assert [line["iteration"] for line in lines] == [1, 3, 5, 7, 9, 11, 13, 15, 17]
    assert ["mAP" in line for line in lines] == [False, False, True] * 3
    written = json.loads((folder / "result.json").read_text())
    assert written["metrics"] == results
    assert written["seed"] == 7
    assert written["config"]["SOLVER"]["MAX_EPOCH"] == 3
    assert written["versions"]["torch"] == torch.__version__
    assert written["timings"]["images_per_second"] > 0
    assert list(folder.glob("events.out.tfevents*"))
    assert "eta: " in (folder / "log.txt").read_text()


def test_second_run_with_the_seed_and_other_workers_is_identical(reference, make_cfg):
    cfg, _ = reference
    twin = make_cfg("twin", DATALOADER__NUM_WORKERS=0, **THREE_EPOCHS)
    train(twin)
    assert_equal_weights(weights(cfg.OUTPUT_DIR), weights(twin.OUTPUT_DIR))


@pytest.mark.slow
def test_spawned_workers_train_the_same_weights(reference, make_cfg):
    """Processes are not forked on macOS and Windows; Python 3.14 forks nowhere by default."""
    cfg, _ = reference
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        keys = {**THREE_EPOCHS, "SOLVER__MAX_EPOCH": 1, "TEST__EVAL_PERIOD": 0}
        spawned = make_cfg("spawned", DATALOADER__NUM_WORKERS=1, **keys)
        train(spawned)
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert_equal_weights(weights(cfg.OUTPUT_DIR, "model_0000"), weights(spawned.OUTPUT_DIR))


def test_other_seed_gives_other_weights(reference, make_cfg):
    cfg, _ = reference
    other = make_cfg("other", SEED=8, SOLVER__MAX_EPOCH=1)
    train(other)
    first = weights(cfg.OUTPUT_DIR, "model_0000")
    assert any(
        not torch.equal(first[name], value) for name, value in weights(other.OUTPUT_DIR).items()
    )


def test_run_stopped_in_its_second_epoch_resumes_to_the_same_weights(reference, make_cfg):
    cfg, _ = reference
    stopped = make_cfg("stopped", **THREE_EPOCHS)
    with pytest.raises(KeyboardInterrupt):
        run_until(stopped, iteration=9)
    log = (Path(stopped.OUTPUT_DIR) / "log.txt").read_text()
    assert "interrupted at iteration 9; continue with --resume from" in log
    train(stopped, resume=True)
    assert_equal_weights(weights(cfg.OUTPUT_DIR), weights(stopped.OUTPUT_DIR))
    ours = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    theirs = read_checkpoint(Path(stopped.OUTPUT_DIR) / "model_final.pth")
    torch.testing.assert_close(
        ours["optimizer"]["state"], theirs["optimizer"]["state"], rtol=0, atol=0
    )
    for key in ("lr_sched", "warmup_sched", "freeze_counter", "best_metric", "epoch", "run"):
        assert ours[key] == theirs[key]
    iterations = [line["iteration"] for line in metrics(stopped.OUTPUT_DIR)]
    assert iterations == [1, 3, 5, 7, 9, 11, 13, 15, 17]


@pytest.mark.slow
def test_a_run_in_float16_resumes_with_its_loss_scale(make_cfg):
    """The scale that the first epoch has found is in the checkpoint, else the steps differ."""
    keys = {**amp("float16"), "SOLVER__MAX_EPOCH": 2}
    whole = make_cfg("whole", **keys)
    stopped = make_cfg("stopped", **keys)
    train(whole)
    with pytest.raises(KeyboardInterrupt):
        run_until(stopped, iteration=8)
    train(stopped, resume=True)
    assert_equal_weights(weights(whole.OUTPUT_DIR), weights(stopped.OUTPUT_DIR))
    ours = read_checkpoint(Path(whole.OUTPUT_DIR) / "model_final.pth")["grad_scaler"]
    theirs = read_checkpoint(Path(stopped.OUTPUT_DIR) / "model_final.pth")["grad_scaler"]
    assert ours == theirs
    assert ours["scale"] < 2**16


def run_until(cfg, iteration: int) -> None:
    """Train, and press Ctrl-C before an iteration."""

    class Interrupted(Trainer):
        def run_step(self) -> None:
            if self.iter == iteration:
                raise KeyboardInterrupt
            super().run_step()

    trainer = Interrupted(prepare_run(cfg))
    trainer.resume_or_load(False)
    trainer.train()


def test_frozen_layers_do_not_move_and_stay_in_eval_mode_after_evaluation(reference):
    cfg, _ = reference
    first = weights(cfg.OUTPUT_DIR, "model_0000")
    second = weights(cfg.OUTPUT_DIR, "model_0001")
    trained = {name for name in first if not torch.equal(first[name], second[name])}
    assert any(name.startswith("backbone") for name in trained)  # thawed at iteration 8
    # Running statistics of a frozen layer move only in training mode: 4 of 6 iterations.
    assert all(
        first[name] == 0
        for name in first
        if name.endswith("num_batches_tracked") and name.startswith("backbone")
    )
    assert all(
        second[name] == 4
        for name in first
        if name.endswith("num_batches_tracked") and name.startswith("backbone")
    )


def test_evaluating_the_final_checkpoint_gives_the_runs_numbers(reference, make_cfg):
    cfg, results = reference
    again = make_cfg("again", MODEL__WEIGHTS=f"{cfg.OUTPUT_DIR}/model_final.pth")
    assert evaluate(again) == results


def test_evaluation_without_weights_says_what_to_add(make_cfg):
    with pytest.raises(ValueError, match=r"checkpoint to evaluate in MODEL\.WEIGHTS"):
        evaluate(make_cfg())


def amp(dtype):
    """Return keys of full precision (None) or of autocast to a dtype."""
    return {"SOLVER__AMP__ENABLED": dtype is not None, "SOLVER__AMP__DTYPE": dtype or ""}


# Not float16, whose first steps overflow until the scale of the loss is found; see test_step.
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_learns_and_returns_nothing_where_nothing_is_evaluated(make_cfg, dtype):
    cfg = make_cfg(**amp(dtype), SOLVER__BASE_LR=3e-3, SOLVER__MAX_EPOCH=4)
    trainer = Trainer(prepare_run(cfg))
    trainer.resume_or_load(False)
    assert trainer.train() == {}
    losses = [value for value, _ in trainer.storage.history("loss_cls").values()]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (None, "after 3 steps.*"),
        ("bfloat16", "after 3 steps.*"),
        ("float16", "got no gradient.*"),  # at once: torch's loss scaling asserts
    ],
)
def test_gradient_check_stops_fastreids_unrepaired_run(make_cfg, dtype, words):
    """With torch's default zero_grad nothing is learned, and fastreid does not notice."""
    trainer = Trainer(prepare_run(make_cfg(**amp(dtype))))
    unrepaired = functools.partial(torch.optim.Optimizer.zero_grad, trainer.optimizer)
    trainer.optimizer.zero_grad = lambda **_: unrepaired(set_to_none=True)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.resume_or_load(False)
    with pytest.raises(RuntimeError, match=rf"nothing is learned: {words}set_to_none=True"):
        trainer.train()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())


def test_schedule_that_warms_up_for_the_whole_run_is_refused(make_cfg):
    with pytest.raises(ValueError, match=r"begins after 2 epochs.*SOLVER.MAX_EPOCH is 2"):
        Trainer(make_cfg(SOLVER__SCHED="CosineAnnealingLR", SOLVER__WARMUP_ITERS=12))


def test_run_without_a_seed_resumes_with_the_seed_it_has_sampled(make_cfg):
    cfg = make_cfg(SEED=-1, SOLVER__MAX_EPOCH=1)
    train(cfg)
    sampled = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")["run"]["seed"]
    assert prepare_run(cfg, resume=True).SEED == sampled
    assert prepare_run(cfg).SEED != sampled


def test_refused_resume_leaves_the_configuration_of_the_earlier_run(make_cfg):
    cfg = make_cfg(SEED=3, SOLVER__MAX_EPOCH=1)
    train(cfg)
    kept = (Path(cfg.OUTPUT_DIR) / "config.yaml").read_bytes()
    assert b"DEPTH: x0_25" in kept
    with pytest.raises(ValueError, match=r"MODEL\.BACKBONE\.DEPTH: was 'x0_25', is 'x0_5'"):
        train(make_cfg(MODEL__BACKBONE__DEPTH="x0_5", MODEL__BACKBONE__FEAT_DIM=0), resume=True)
    assert (Path(cfg.OUTPUT_DIR) / "config.yaml").read_bytes() == kept


@pytest.mark.parametrize("period", [1, 0])
def test_an_evaluation_that_fails_costs_no_training(reference, make_cfg, period):
    """The checkpoint is written before; --resume evaluates first and ends as if nothing was."""
    cfg, results = reference
    failed = make_cfg("failed", **THREE_EPOCHS, SOLVER__CHECKPOINT_PERIOD=period)

    class Unreadable(Trainer):
        @classmethod
        def test(cls, cfg, model):
            if cls.evaluations == 1:
                raise OSError("cannot read image gallery.jpg")
            cls.evaluations += 1
            return super().test(cfg, model)

        evaluations = 0

    trainer = Unreadable(prepare_run(failed))
    trainer.resume_or_load(False)
    with pytest.raises(OSError, match=r"gallery\.jpg"):
        trainer.train()
    folder = Path(failed.OUTPUT_DIR)
    name = "model_0001.pth" if period else "model_latest.pth"
    assert (folder / "last_checkpoint").read_text() == name
    assert read_checkpoint(folder / name)["epoch"] == 1
    assert train(failed, resume=True) == results
    assert not (folder / "model_latest.pth").exists()
    ours = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    theirs = read_checkpoint(Path(failed.OUTPUT_DIR) / "model_final.pth")
    assert_equal_weights(ours["model"], theirs["model"])
    assert ours["best_metric"] == theirs["best_metric"]
    evaluated = {line["iteration"]: line["mAP"] for line in metrics(folder) if "mAP" in line}
    expected = {line["iteration"]: line["mAP"] for line in metrics(cfg.OUTPUT_DIR) if "mAP" in line}
    assert evaluated == expected


def test_the_last_evaluation_is_made_up_for_too(reference, make_cfg):
    cfg, results = reference
    failed = make_cfg("failed", **THREE_EPOCHS)

    class Interrupted(Trainer):
        @classmethod
        def test(cls, cfg, model):
            if cls.evaluations == 2:
                raise KeyboardInterrupt
            cls.evaluations += 1
            return super().test(cfg, model)

        evaluations = 0

    trainer = Interrupted(prepare_run(failed))
    trainer.resume_or_load(False)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert train(failed, resume=True) == results
    lines = [line for line in metrics(failed.OUTPUT_DIR) if "mAP" in line]
    assert [line["iteration"] for line in lines] == [5, 11, 17]
    ours = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    theirs = read_checkpoint(Path(failed.OUTPUT_DIR) / "model_final.pth")
    assert ours["best_metric"] == theirs["best_metric"]
    assert not theirs["evaluation_pending"]
