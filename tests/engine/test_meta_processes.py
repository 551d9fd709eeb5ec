"""Two processes move the same gates, by the mean of their gradients."""

import json

import pytest
import torch

from ..two_processes import run_in_two_processes
from .test_meta_step import META
from .test_processes import SCRIPT, of_rank
from .tiny import overrides


@pytest.mark.slow
def test_both_processes_hold_the_same_gates(market_root, tmp_path):
    folder = market_root / "Market-1501-v15.09.15"
    keys = META | {
        "DATASETS__SETS": [f"{name}={folder}" for name in ("Second", "Third")],
        "DATASETS__NAMES": ("Market1501", "Second", "Third"),
        "MODEL__HEADS__NUM_CLASSES": 0,
        "SOLVER__IMS_PER_BATCH": 48,
        "SOLVER__ITERS_PER_EPOCH": 3,
        "SOLVER__MAX_EPOCH": 1,
        "SOLVER__META__GATE_LR": 20.0,
    }
    jobs = [{"keys": overrides(market_root, tmp_path / "two", **keys)}]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    run_in_two_processes(SCRIPT, tmp_path / "jobs.json", timeout=400)
    first = of_rank(tmp_path / "two", 0)["model"]
    second = of_rank(tmp_path / "two", 1)["model"]
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    gates = torch.cat([value for name, value in first.items() if name.endswith(".gate")])
    assert 0 <= gates.min() < 1
