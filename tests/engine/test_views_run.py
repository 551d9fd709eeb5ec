"""Whole runs with several views: CIL, and contrastive pre-training with queue and key encoder."""

import json
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer, train
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.setup import prepare_run

from .tiny import overrides

# 48 images in batches of 8: 6 iterations an epoch.
CIL = {
    "MODEL__LOSSES__NAME": ("CrossEntropyLoss", "TripletLoss", "JSConsistencyLoss"),
    "INPUT__VIEWS__RECIPE": "cil",
    "INPUT__AUGMIX__METHOD": "paper",
    "INPUT__REA__ENABLED": False,
    "SOLVER__LOG_PERIOD": 1,
    "TEST__EVAL_PERIOD": 2,
}
PRETRAINING = {
    "MODEL__META_ARCHITECTURE": "ContrastivePretrain",
    "MODEL__HEADS__NAME": "ProjectionHead",
    "MODEL__HEADS__EMBEDDING_DIM": 16,
    "MODEL__LOSSES__NAME": ("MultiPositiveContrastiveLoss", "JSConsistencyLoss"),
    # Not a multiple of the 24 keys of a step, so that the ring closes anywhere.
    "MODEL__MOCO__QUEUE": 40,
    "MODEL__MOCO__MOMENTUM": 0.9,
    "INPUT__VIEWS__RECIPE": "dapg",
    "INPUT__REA__ENABLED": False,
    "DATALOADER__SAMPLER_TRAIN": "TrainingSampler",
    "SOLVER__OPT": "SGD",
    "SOLVER__BASE_LR": 0.01,
    "SOLVER__LOG_PERIOD": 1,
    "TEST__EVAL_PERIOD": 2,
}
RUNS = {
    "cil": (CIL, {"loss_cls", "loss_triplet", "loss_js"}),
    "pretraining": (PRETRAINING, {"loss_contrast", "loss_js"}),
}


class Interrupted(Trainer):
    """Presses Ctrl-C in the second epoch."""

    def run_step(self) -> None:
        if self.iter == 9:
            raise KeyboardInterrupt
        super().run_step()


@pytest.fixture(scope="module", params=RUNS)
def finished(request, market_root, tmp_path_factory):
    """Return name, configuration and results of a whole run."""
    changes, _ = RUNS[request.param]
    output = tmp_path_factory.mktemp(request.param)
    cfg = load_config("", overrides(market_root, output, **changes))
    return request.param, cfg, train(cfg)


def checkpoint(cfg, name="model_final"):
    return read_checkpoint(Path(cfg.OUTPUT_DIR) / f"{name}.pth")


def test_writes_its_losses_and_measures_retrieval(finished):
    name, cfg, results = finished
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    last = json.loads(lines[-1])
    assert len(lines) == 12
    assert {key for key in last if key.startswith("loss_")} == RUNS[name][1]
    assert results["Market1501"]["Rank-1"] > 0


def test_stopped_and_resumed_run_ends_with_the_same_weights(finished, make_cfg):
    """Queue, its position and the key encoder included; with another number of workers."""
    name, cfg, results = finished
    stopped = make_cfg("stopped", **RUNS[name][0], DATALOADER__NUM_WORKERS=0)
    trainer = Interrupted(prepare_run(stopped))
    trainer.resume_or_load(False)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert train(stopped, resume=True) == results
    ours = checkpoint(stopped)
    theirs = checkpoint(cfg)
    assert [n for n, v in theirs["model"].items() if not torch.equal(ours["model"][n], v)] == []
    torch.testing.assert_close(
        ours["optimizer"]["state"], theirs["optimizer"]["state"], rtol=0, atol=0
    )


def test_queue_and_key_encoder_move(finished):
    """So the equality above means something."""
    name, cfg, _ = finished
    early = checkpoint(cfg, "model_0000")["model"]
    late = checkpoint(cfg, "model_final")["model"]
    assert ("queue.keys" in late) == (name == "pretraining")
    if name != "pretraining":
        return
    assert (int(early["queue.position"]), int(late["queue.position"])) == (144 % 40, 288 % 40)
    assert not torch.equal(early["queue.keys"], late["queue.keys"])
    for weights in (early, late):
        torch.testing.assert_close(weights["queue.keys"].norm(dim=1), torch.ones(40))
    keys = [key for key in late if key.startswith("key_backbone") and "conv1.conv" in key]
    assert keys
    for key in keys:
        assert not torch.equal(late[key], early[key])
        assert not torch.equal(late[key], late[key.removeprefix("key_")])
