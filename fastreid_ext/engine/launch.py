"""Start one process or many: spawned by us, or by torchrun; NCCL on GPUs, gloo on the CPU.

fastreid's launcher needs GPUs and does not know torchrun.
"""

import dataclasses
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def launch(
    main: Callable[..., None],
    args: tuple[Any, ...],
    *,
    device: str,
    processes: int = 1,
    machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Run ``main(*args)`` in every process of the run.

    Under torchrun (``RANK`` and ``WORLD_SIZE`` in the environment) this process is one of many and
    joins them; the other arguments are then torchrun's. Otherwise ``processes`` are spawned, which
    import the main module anew, so ``fastreid_ext`` must be imported there at module level.

    Args:
        main: a function of an importable module.
        args: its arguments.
        device: ``MODEL.DEVICE``, "cuda" or "cpu".
        processes: processes on this machine; on CUDA one per GPU.
        machines: machines of the run, each of which runs this command.
        machine_rank: number of this machine, from 0.
        dist_url: address of machine 0, ``tcp://host:port``; "auto" = a free port of this machine.

    Raises:
        ValueError: more processes than GPUs, or several machines without an address.
        SystemExit: with the exit code of a spawned process that ended with one.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _run_in_group(_Place.from_torchrun(device), main, args)
        return
    if device.startswith("cuda") and processes > torch.cuda.device_count():
        raise ValueError(
            f"expected at most {torch.cuda.device_count()} processes (the GPUs torch sees), got "
            f"--num-gpus {processes}"
        )
    if processes * machines == 1:
        main(*args)
        return
    if dist_url == "auto":
        if machines > 1:
            raise ValueError("--num-machines > 1 needs --dist-url tcp://<machine 0>:<port>")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    first = _Place(device, 0, processes, machine_rank * processes, machines * processes, dist_url)
    try:
        mp.spawn(_spawned, nprocs=processes, args=(first, main, args))
    except mp.ProcessExitedException as error:
        raise SystemExit(error.exit_code) from error


def wrap_for_processes(model: nn.Module) -> nn.Module:
    """Wrap with DDP where there are several processes; on the CPU without device ids."""
    if comm.get_world_size() == 1:
        return model
    is_cuda = next(model.parameters()).is_cuda
    ids = [torch.cuda.current_device()] if is_cuda else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a process stands in the run."""

    device: str
    local_rank: int
    local_size: int  # processes of this machine
    rank: int
    world_size: int
    address: str

    @classmethod
    def from_torchrun(cls, device: str) -> "_Place":
        names = ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "RANK", "WORLD_SIZE")
        return cls(device, *(int(os.environ[name]) for name in names), "env://")


def _spawned(local_rank: int, first: _Place, main: Callable[..., None], args: tuple) -> None:
    # A spawned process spawns its loader workers too, and each imports torch and fastreid anew.
    mp.set_start_method(mp.get_all_start_methods()[0], force=True)  # the platform's default
    # Otherwise every process uses every core, which is slower than one process alone.
    torch.set_num_threads(max(1, torch.get_num_threads() // first.local_size))
    place = dataclasses.replace(first, local_rank=local_rank, rank=first.rank + local_rank)
    _run_in_group(place, main, args)


def _run_in_group(place: _Place, main: Callable[..., None], args: tuple) -> None:
    is_cuda = place.device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(place.local_rank)
    dist.init_process_group(
        "nccl" if is_cuda else "gloo",
        init_method=place.address,
        rank=place.rank,
        world_size=place.world_size,
    )
    # fastreid asks this variable for the local rank; its own launcher would have set it.
    for start in range(0, place.world_size, place.local_size):
        ranks = range(start, start + place.local_size)
        group = dist.new_group(list(ranks))
        if place.rank in ranks:
            comm._LOCAL_PROCESS_GROUP = group
    comm.synchronize()
    main(*args)
    # Only after success: the others may be waiting in a collective that will never come.
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
