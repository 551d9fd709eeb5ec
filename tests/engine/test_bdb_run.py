"""Whole runs of BDB with its sampler, schedule and Cut-out, stopped and resumed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer, evaluate, train
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.setup import prepare_run

from .test_train_net import REPOSITORY, finish, start
from .tiny import overrides

# 8 persons x 2 images in batches of 8: 2 iterations an epoch.
BDB = {
    "MODEL__META_ARCHITECTURE": "BDB",
    "MODEL__HEADS__NAME": "BDBHead",
    "MODEL__HEADS__WITH_BNNECK": False,
    "MODEL__HEADS__BDB__GLOBAL_DIM": 16,
    "MODEL__HEADS__BDB__PART_DIM": 32,
    "MODEL__LOSSES__TRI__MARGIN": 0.0,
    "MODEL__LOSSES__TRI__HARD_MINING": True,
    "INPUT__CUTOUT__ENABLED": True,
    "INPUT__CUTOUT__SIZE": [16, 16],
    "DATALOADER__SAMPLER_TRAIN": "OncePerIdentitySampler",
    "SOLVER__SCHED": "StairWarmupLR",
    "SOLVER__WARMUP_ITERS": 0,
    "SOLVER__STAIRS__COUNT": 2,
    "SOLVER__STAIRS__EPOCHS": 2,
    "SOLVER__STEPS": [3],
    "SOLVER__MAX_EPOCH": 4,
    "SOLVER__LOG_PERIOD": 1,
    "SOLVER__BASE_LR": 1e-3,
    "TEST__EVAL_PERIOD": 4,
    "TEST__METRIC": "euclidean",
}


class Interrupted(Trainer):
    """Presses Ctrl-C in the third epoch."""

    def run_step(self) -> None:
        if self.iter == 5:
            raise KeyboardInterrupt
        super().run_step()


@pytest.fixture(scope="module")
def finished(market_root, tmp_path_factory):
    cfg = load_config("", overrides(market_root, tmp_path_factory.mktemp("bdb"), **BDB))
    return cfg, train(cfg)


def final(cfg):
    return read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")


def test_epochs_rates_and_losses_are_those_of_the_recipe(finished):
    cfg, results = finished
    lines = [
        json.loads(line)
        for line in (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    ]
    assert len(lines) == 8  # 4 epochs of 2 iterations
    expected = [5e-4] * 2 + [1e-3] * 4 + [1e-4] * 2
    assert [line["lr"] for line in lines] == pytest.approx(expected)
    assert {name for name in lines[0] if name.startswith("loss_")} == {
        f"loss_{kind}_{branch}" for kind in ("cls", "triplet") for branch in ("global", "part")
    }
    assert results["Market1501"]["Rank-1"] > 0


def test_stopped_and_resumed_run_ends_with_the_same_weights(finished, make_cfg):
    cfg, results = finished
    stopped = make_cfg("stopped", **BDB)
    trainer = Interrupted(prepare_run(stopped))
    trainer.resume_or_load(False)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    torch.rand(7)  # the stripes must not depend on what is sampled meanwhile
    assert train(stopped, resume=True) == results
    ours = final(stopped)
    theirs = final(cfg)
    unequal = [n for n, v in theirs["model"].items() if not torch.equal(ours["model"][n], v)]
    assert unequal == []
    assert ours["lr_sched"] == theirs["lr_sched"]


def test_stripes_of_a_resumed_run_come_from_the_checkpoint(finished, make_cfg, monkeypatch):
    """Without the generator's state the weights differ, so the test above means something."""
    monkeypatch.setattr("fastreid_ext.engine.trainer.restore_random_state", lambda state: None)
    stopped = make_cfg("stopped", **BDB)
    run = Interrupted(prepare_run(stopped))
    run.resume_or_load(False)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    train(stopped, resume=True)
    ours = final(stopped)["model"]
    theirs = final(finished[0])["model"]
    assert any(not torch.equal(ours[name], value) for name, value in theirs.items())


def test_evaluating_gives_the_runs_numbers(finished, make_cfg):
    cfg, results = finished
    again = make_cfg("again", **BDB, MODEL__WEIGHTS=f"{cfg.OUTPUT_DIR}/model_final.pth")
    assert evaluate(again) == results


@pytest.mark.slow
def test_smoke_recipe_killed_resumed_and_evaluated_by_the_command(market_root, tmp_path):
    recipe = str(REPOSITORY / "configs/smoke/bdb.yml")
    sets = ("DATASETS.NAMES", "('Market1501',)", "DATASETS.TESTS", "('Market1501',)")
    keys = (*sets, "DATASETS.ROOT", str(market_root), "OUTPUT_DIR")
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    results = train(load_config(recipe, [*keys, str(whole)]))

    process = start("--config-file", recipe, *keys, str(killed))
    metrics = killed / "metrics.json"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 5):  # in the third epoch
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert not (killed / "model_final.pth").exists()
    code, output = finish(start("--config-file", recipe, "--resume", *keys, str(killed)))
    assert code == 0, output
    ours = read_checkpoint(killed / "model_final.pth")["model"]
    theirs = read_checkpoint(whole / "model_final.pth")["model"]
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []

    weights = ("MODEL.WEIGHTS", str(killed / "model_final.pth"))
    evaluation = ("--eval-only", *keys, str(tmp_path / "evaluation"), *weights)
    code, evaluated = finish(start("--config-file", recipe, *evaluation))
    assert code == 0, evaluated
    last_lines = [text.splitlines()[-1].split("  (/")[0] for text in (output, evaluated)]
    assert last_lines[0] == last_lines[1]
    assert f"Rank-1 {results['Market1501']['Rank-1']:.2f}" in last_lines[0]
