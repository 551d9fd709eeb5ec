"""Script of test_launch.py, started once for each process as srun does: nothing ends the others.

    together_in_processes.py FOLDER waits
    together_in_processes.py FOLDER fails RANK

"waits": what ``FOLDER/rank<r>.json`` holds afterwards. "fails": process RANK raises an error while
the others wait for it.
"""

import datetime
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from fastreid.utils import comm
from torch import Tensor, nn

import fastreid_ext  # noqa: F401
from fastreid_ext.config import load_config
from fastreid_ext.engine.launch import launch, wrap_for_processes
from fastreid_ext.evaluation.evaluator import CountingEvaluator, Results
from fastreid_ext.processes import meet, on_main_process, process_rank

TIMEOUT = 3.0  # seconds, of the process group
LONGER = 5.0


class HalfUsed(nn.Module):
    """A model with a layer that no loss depends on."""

    def __init__(self, finds: bool = False) -> None:
        super().__init__()
        self.used = nn.Linear(2, 1)
        self.unused = nn.Linear(2, 1)
        self.find_unused_parameters = finds

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return {"loss": self.used(rows).sum()}


class SlowEvaluator(CountingEvaluator):
    """Ranks for longer than the group waits."""

    def _results_of(self, shares: list) -> Results:
        time.sleep(LONGER)
        return super()._results_of(shares)


def two_steps(model: nn.Module, **wrapping: bool) -> str:
    """Return the error of two steps, "" if there is none."""
    wrapped = wrap_for_processes(model, **wrapping)
    try:
        for _ in range(2):
            wrapped(torch.ones(1, 2))["loss"].backward()
    except ValueError as error:
        return str(error)
    return ""


def error_of(work: Callable[[], object]) -> str:
    try:
        work()
    except (RuntimeError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def evaluated() -> Results:
    evaluator = SlowEvaluator(load_config("", ["MODEL.DEVICE", "cpu"]), 2)
    evaluator.reset()
    ids = torch.tensor([0, 1])
    batch = {"targets": ids, "camids": torch.full((2,), process_rank())}
    evaluator.process(batch, torch.eye(2))
    return evaluator.evaluate()


def waits(folder: Path) -> None:
    """Write what came of everything, the last being a barrier that the group's timeout ends."""
    rank = process_rank()
    found = {
        "rank": rank,
        "local": [comm.get_local_rank(), comm.get_local_size()],
        "unused": two_steps(HalfUsed()),
        "unused, by key": two_steps(HalfUsed(), find_unused=True),
        "unused, by attribute": two_steps(HalfUsed(finds=True)),
    }
    meet()
    # Not from the start: connecting may take longer on a busy machine.
    dist.distributed_c10d._set_pg_timeout(datetime.timedelta(seconds=TIMEOUT))
    found["result"] = on_main_process(lambda: time.sleep(LONGER) or "done", "the work")
    time.sleep(LONGER * rank)
    meet()
    found["evaluation"] = dict(evaluated())
    found["failure"] = error_of(lambda: on_main_process(lambda: [][0], "the work"))
    time.sleep(LONGER * rank)
    found["barrier"] = error_of(dist.barrier)
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


def fails(failing: int) -> None:
    if process_rank() == failing:
        raise OSError("an image is broken")
    dist.all_reduce(torch.zeros(1))


if __name__ == "__main__":
    if sys.argv[2] == "waits":
        launch(waits, (Path(sys.argv[1]),), device="cpu")
    else:
        launch(fails, (int(sys.argv[3]),), device="cpu")
