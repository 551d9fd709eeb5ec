"""The queue of two gloo processes on the CPU; in one process: test_contrastive_pretrain.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("queue_in_processes.py")


@pytest.mark.slow
def test_every_process_holds_the_keys_of_all(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *torchrun, str(SCRIPT), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])},
        check=True,
        timeout=180,
    )
    first, second = (torch.load(tmp_path / f"rank{rank}.pth") for rank in (0, 1))
    assert not torch.equal(first["keys"], second["keys"])
    pushed = torch.cat([first["keys"], second["keys"]])  # 3 keys of 2 images of 2 processes
    for state in (first, second):
        assert torch.equal(state["queue"][:12], pushed)
        assert torch.equal(state["queue"][12:], state["before"][12:])
        assert int(state["position"]) == 12
    torch.testing.assert_close(first["gradients"], second["gradients"], rtol=0, atol=0)
    assert not any(name.startswith("key_") for name in first["gradients"])
