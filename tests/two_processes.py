"""Run a script in two processes that train together, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run_in_two_processes(script: Path, *arguments: object, timeout: int) -> None:
    """Run a script to its end; an error in one of the processes is raised here."""
    subprocess.run(
        [sys.executable, *_TORCHRUN, str(script), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        check=True,
        timeout=timeout,
    )
