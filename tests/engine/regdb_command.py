"""Script of test_regdb_command.py: evaluation_matrix.py on a small RegDB, killed in a step.

    python regdb_command.py <step> <arguments of evaluation_matrix.py>

The process kills itself with SIGKILL before the training step of that number, counted over all
models of this call from 0; -1 lets it end.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import fastreid_ext  # noqa: F401
from fastreid_ext.data.datasets import regdb
from fastreid_ext.engine.trainer import Trainer

TOOLS = Path(__file__).resolve().parents[2] / "tools"
IDENTITIES = 4
IMAGES = 2  # of each identity and modality


def kill_before(step: int) -> None:
    """Let the trainer kill the process before a step; nothing for -1."""
    run_step = Trainer.run_step
    done = []

    def counted(trainer: Trainer) -> None:
        if len(done) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(trainer.iter)
        run_step(trainer)

    Trainer.run_step = counted


if __name__ == "__main__":
    regdb.IDENTITIES = IDENTITIES
    regdb.IMAGES = IDENTITIES * IMAGES
    kill_before(int(sys.argv[1]))
    sys.path.insert(0, str(TOOLS))
    spec = importlib.util.spec_from_file_location(
        "evaluation_matrix", TOOLS / "evaluation_matrix.py"
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(tool.parse(sys.argv[2:]))
