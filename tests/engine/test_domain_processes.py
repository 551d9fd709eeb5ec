"""Two processes adapt to a target as one does: groups of images, and a bank that all write."""

import json
from pathlib import Path

import pytest
import torch

from fastreid_ext.engine.checkpoint import read_checkpoint

from ..two_processes import run_in_two_processes
from .domains import ADAPTATION, write_source
from .run_in_processes import run_job
from .test_processes import SCRIPT, flat, of_rank
from .tiny import overrides

pytestmark = pytest.mark.slow

# No augmentation: it follows the position in the stream, which depends on the processes.
PLAIN = ADAPTATION | {
    "MODEL__LOSSES__NAME": ("CrossEntropyLoss", "BankTripletLoss"),
    "INPUT__FLIP__ENABLED": False,
    "INPUT__REA__ENABLED": False,
    "SOLVER__OPT": "SGD",
    # Few and small steps: hardest triplets of groups of 4 images double a difference in each.
    "SOLVER__BASE_LR": 5e-4,
    "SOLVER__ITERS_PER_EPOCH": 2,
    "SOLVER__MAX_EPOCH": 1,
}


@pytest.fixture(scope="module")
def outputs(market_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("domains")
    keys = PLAIN | {"DATASETS__SETS": [write_source(folder)]}
    run_job(overrides(market_root, folder / "one", **keys))
    jobs = [{"keys": overrides(market_root, folder / "two", **keys)}]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    run_in_two_processes(SCRIPT, folder / "jobs.json", timeout=400)
    return folder


def test_two_processes_train_the_model_of_one(outputs):
    alone = of_rank(outputs / "one", 0)
    together = of_rank(outputs / "two", 0)
    way = (flat(alone["model"]) - flat(alone["initial"])).norm()
    assert way > 0.01
    assert (flat(together["model"]) - flat(alone["model"])).norm() < 0.01 * way


def test_both_processes_hold_the_same_weights(outputs):
    first = of_rank(outputs / "two", 0)["model"]
    second = of_rank(outputs / "two", 1)["model"]
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_bank_holds_the_features_of_all_processes(outputs):
    banks = [
        read_checkpoint(outputs / name / "model_final.pth")["pseudo_labels"]["model"]["bank"]
        for name in ("one", "two")
    ]
    assert [len(bank["labels"]) for bank in banks] == [32, 32]
    labels = [bank["labels"].sort().values for bank in banks]
    assert torch.equal(*labels)
    sums = [bank["features"].double().sum(dim=0) for bank in banks]
    torch.testing.assert_close(*sums, rtol=1e-3, atol=1e-3)
