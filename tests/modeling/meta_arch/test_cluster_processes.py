"""Two gloo processes train ICE, PPLR, UNRN and GLT as one does with the same batch."""

from pathlib import Path

import pytest
import torch

from ...two_processes import run_in_two_processes
from .clusters_in_processes import CASES, STEPS, steps

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("clusters_in_processes.py")
CLOSE = {"rtol": 1e-6, "atol": 1e-9}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    """Give the results of each of two processes."""
    folder = tmp_path_factory.mktemp("clusters")
    run_in_two_processes(SCRIPT, folder, timeout=180)
    return [torch.load(folder / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(found, name):
    """Losses are computed in float64 here; the running statistics are those of the first group."""
    alone = steps(CASES[name])
    parts = [part[name] for part in found]
    for step in range(STEPS):
        for loss, value in alone["losses"][step].items():
            mean = sum(part["losses"][step][loss] for part in parts) / 2
            assert value > 1e-3 or (loss, step) == ("loss_contrast", 0)  # an empty memory
            assert mean == pytest.approx(value, rel=1e-6)
        for part in parts:
            torch.testing.assert_close(part["gradients"][step], alone["gradients"][step], **CLOSE)
    assert max(float(g.abs().max()) for g in alone["gradients"][0].values()) > 1e-3
    torch.testing.assert_close(parts[0]["after"], alone["after"], **CLOSE)
    for key, value in parts[0]["after"].items():
        if "running_" not in key:
            assert torch.equal(parts[1]["after"][key], value), key
