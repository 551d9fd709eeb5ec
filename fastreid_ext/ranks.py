"""Read from the environment which process of a run this one is: torchrun's and Slurm's variables.

Launchers start several processes and tell each its place: torchrun and ``accelerate launch`` in
``RANK`` and ``WORLD_SIZE``, ``srun`` in ``SLURM_PROCID`` and ``SLURM_STEP_NUM_TASKS``.
"""

import dataclasses
import os
import re
from collections.abc import Mapping

TORCHRUN = "torchrun"
SLURM = "Slurm"


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Place of this process among those that a launcher started.

    Attributes:
        rank: number of the process in the run, from 0.
        world_size: processes of the run.
        local_rank: number of the process on its machine, from 0; usually the number of its GPU.
        node: number of the machine, from 0.
        launcher: ``TORCHRUN``, ``SLURM``, or "" where nothing launched this process.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node: int = 0
    launcher: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"expected a rank in [0, {self.world_size}), the processes of the run, got "
                f"{self.rank} from {self.launcher or 'the caller'}; unset its variables, or start "
                "all processes with one launcher"
            )

    def share_of(self, shard: tuple[int, int]) -> tuple[int, int]:
        """Divide a shard among the processes of the launch, of which other shards may have more.

        Example:
            >>> Ranks(rank=1, world_size=8).share_of((1, 4))  # on the second of four machines
            (5, 32)

        Args:
            shard: index and count of the part of the work that all processes of the launch do.

        Returns:
            Index and count of the part of this process.
        """
        index, count = shard
        return index + self.rank * count, count * self.world_size


def read_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Read the place of this process.

    torchrun's variables come first, because ``srun`` may start one torchrun per machine. A step of
    one task is no launch: its command may start processes of its own.

    Args:
        environment: variables of the process.

    Returns:
        ``Ranks()`` where no launcher started this process.

    Raises:
        ValueError: a variable is no number, or the rank is not below the number of processes.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _of_torchrun(environment)
    size = _tasks_of_step(environment)
    if size <= 1:
        return Ranks()
    rank, local_rank, node = (
        _number(environment, name) for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
    )
    return Ranks(rank, size, local_rank, node, SLURM)


def rendezvous_address(environment: Mapping[str, str] = os.environ) -> str:
    """Return the address at which the processes of a launch meet.

    Under Slurm the first node of the step and a port that follows from the numbers of job and step,
    where ``MASTER_ADDR`` and ``MASTER_PORT`` name none.

    Returns:
        "env://" under torchrun, else "tcp://host:port".

    Raises:
        ValueError: Slurm names no node.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return "env://"
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "")
    host = environment.get("MASTER_ADDR") or first_host(nodes)
    if not host:
        raise ValueError(
            "expected the nodes of the step in SLURM_STEP_NODELIST, got none; export MASTER_ADDR "
            "with the name of the first node and MASTER_PORT with a free port"
        )
    job = _number(environment, "SLURM_JOB_ID")
    step = _number(environment, "SLURM_STEP_ID")
    # Below 32768, where Linux begins to hand out ports of its own accord.
    port = environment.get("MASTER_PORT") or 15000 + (job * 16 + step) % 15000
    return f"tcp://{host}:{port}"


def first_host(nodes: str) -> str:
    """Return the first host of a Slurm list of nodes.

    Example:
        >>> first_host("gpu[03-06,11],login2")
        'gpu03'
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes).group()
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first)


def _of_torchrun(environment: Mapping[str, str]) -> Ranks:
    rank = _number(environment, "RANK")
    size = _number(environment, "WORLD_SIZE")
    local_rank = _number(environment, "LOCAL_RANK", rank)
    local_size = _number(environment, "LOCAL_WORLD_SIZE", size)
    node = _number(environment, "GROUP_RANK", rank // max(local_size, 1))
    return Ranks(rank, size, local_rank, node, TORCHRUN)


def _tasks_of_step(environment: Mapping[str, str]) -> int:
    """Count the tasks that srun started together; 0 outside of srun."""
    if "SLURM_PROCID" not in environment:
        return 0
    if "SLURM_STEP_NUM_TASKS" in environment:
        return _number(environment, "SLURM_STEP_NUM_TASKS")
    # A batch script is rank 0 of SLURM_NTASKS tasks, of which srun has started none yet: whoever
    # believed it would wait for the others forever.
    return 0 if "SLURM_JOB_ID" in environment else _number(environment, "SLURM_NTASKS", 1)


def _number(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    text = environment.get(name, str(default))
    if not text.strip().isdecimal():
        raise ValueError(f"expected a number in the variable {name}, got '{text}'; correct it")
    return int(text)
