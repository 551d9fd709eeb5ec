"""Rank of this process in a run, read from the variables of torchrun or Slurm.

Launchers start several processes and give each its rank: torchrun and ``accelerate launch`` in
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
    """Rank of this process among those that a launcher started.

    Attributes:
        rank: number of the process in the run, from 0.
        world_size: number of processes of the run.
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
        """Divide a shard of the work among the processes of this launch.

        Example:
            >>> Ranks(rank=1, world_size=8).share_of((1, 4))  # on the second of four machines
            (5, 32)

        Args:
            shard: index and count of the shard that all processes of the launch share.

        Returns:
            Index and count of this process's part of the whole work.
        """
        index, count = shard
        return index + self.rank * count, count * self.world_size


def read_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Read the rank of this process.

    torchrun's variables come first, because ``srun`` may start one torchrun per machine. A step of
    one task is no launch: its command may start its own processes.

    Example:
        >>> read_ranks({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}).local_rank
        1

    Args:
        environment: environment variables of the process.

    Returns:
        ``Ranks()`` where no launcher started this process.

    Raises:
        ValueError: a variable is not a number, or the rank is not below the number of processes.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _of_torchrun(environment)
    size = _tasks_of_step(environment)
    if size <= 1:
        return Ranks()
    return Ranks(
        rank=_number(environment, "SLURM_PROCID"),
        world_size=size,
        local_rank=_number(environment, "SLURM_LOCALID"),
        node=_number(environment, "SLURM_NODEID"),
        launcher=SLURM,
    )


def rendezvous_address(environment: Mapping[str, str] = os.environ) -> str:
    """Find the address at which the processes of a launch meet.

    Under Slurm it is ``MASTER_ADDR`` and ``MASTER_PORT``, or else the first node of the step and a
    port computed from the numbers of job and step.

    Returns:
        "env://" under torchrun, else "tcp://host:port".

    Raises:
        ValueError: Slurm's variables name no node.
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
    # Below 32768, from where Linux assigns ports to other programs.
    port = environment.get("MASTER_PORT") or 15000 + (job * 16 + step) % 15000
    return f"tcp://{host}:{port}"


def first_host(nodes: str) -> str:
    """Find the first host in a Slurm list of nodes.

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
    # A batch script is rank 0 of SLURM_NTASKS tasks, but srun has started none of the others yet: a
    # process that waited for them would wait forever.
    return 0 if "SLURM_JOB_ID" in environment else _number(environment, "SLURM_NTASKS", 1)


def _number(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    text = environment.get(name, str(default))
    if not text.strip().isdecimal():
        raise ValueError(f"expected a number in the variable {name}, got '{text}'; correct it")
    return int(text)
