"""Start one process or many: spawned by us, by torchrun or by srun; NCCL on GPUs, gloo on the CPU.

fastreid's launcher needs GPUs and does not know torchrun.
"""

import dataclasses
import re
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fastreid_ext.processes import ending_together
from fastreid_ext.ranks import TORCHRUN, Ranks, read_ranks, rendezvous_address


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

    Under torchrun, and under ``srun`` with several tasks, this process is one of many and joins
    them; see :mod:`fastreid_ext.ranks`. torchrun decides the other arguments too; within a step of
    Slurm ``processes`` and ``machines`` above 1 are obeyed, for one task per machine. Otherwise
    ``processes`` are spawned, each of which imports the main module, so ``fastreid_ext`` must be
    imported there at module level.

    Args:
        main: a function of an importable module.
        args: positional arguments of ``main``.
        device: ``MODEL.DEVICE``; "cuda" or "cpu" for several processes, "cuda:1" for one.
        processes: processes on this machine; on CUDA one per GPU.
        machines: machines of the run, each of which runs this command.
        machine_rank: number of this machine, from 0.
        dist_url: address of machine 0, ``tcp://host:port``; "auto" = a free port of this machine.

    Raises:
        ValueError: more processes than GPUs, a numbered GPU for several processes, or several
            machines without an address.
        SystemExit: with the exit code of a spawned process that ended with one.
    """
    launched = read_ranks()
    is_alone = processes * machines == 1
    if launched.launcher == TORCHRUN or (launched.launcher and is_alone):
        _run_in_group(_Place(device, launched, rendezvous_address()), main, args)
        return
    if device.startswith("cuda") and processes > torch.cuda.device_count():
        raise ValueError(
            f"expected at most {torch.cuda.device_count()} processes (the GPUs torch sees), got "
            f"--num-gpus {processes}"
        )
    if is_alone:
        main(*args)
        return
    if dist_url == "auto":
        if machines > 1:
            raise ValueError("--num-machines > 1 needs --dist-url tcp://<machine 0>:<port>")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    first = Ranks(machine_rank * processes, machines * processes, 0, machine_rank)
    try:
        mp.spawn(
            _spawned,
            nprocs=processes,
            args=(processes, _Place(device, first, dist_url), main, args),
        )
    except mp.ProcessExitedException as error:
        raise SystemExit(error.exit_code) from error


def gpu_of_process(device: str, ranks: Ranks, gpus: int) -> int:
    """Return the number of the GPU on which a process works.

    Args:
        device: value of ``MODEL.DEVICE``, "cuda" or "cuda:<number>".
        ranks: place of the process in the run.
        gpus: GPUs that torch sees in this process.

    Raises:
        ValueError: there is no such GPU, or several processes were given one number.
    """
    number = torch.device(device).index
    if number is None:
        # A launcher may show each process the one GPU that is its own.
        number = 0 if gpus == 1 else ranks.local_rank
    elif ranks.world_size > 1:
        raise ValueError(
            f"expected MODEL.DEVICE cuda with {ranks.world_size} processes, each of which takes a "
            f"GPU of its own, got {device}; choose GPUs by the variable CUDA_VISIBLE_DEVICES"
        )
    if number >= gpus:
        raise ValueError(
            f"expected a GPU below the {gpus} that torch sees, got number {number} for process "
            f"{ranks.rank} (MODEL.DEVICE {device}); start fewer processes, or check "
            "CUDA_VISIBLE_DEVICES"
        )
    return number


def use_device(device: str, ranks: Ranks | None = None) -> None:
    """Make ``MODEL.DEVICE`` the current GPU of this process; nothing on the CPU.

    Streams, events and random states are those of the current GPU: a model on another one would be
    trained beside them.

    Args:
        device: value of ``MODEL.DEVICE``, such as "cuda:1".
        ranks: place of the process; None keeps the current GPU where ``device`` has no number.

    Raises:
        ValueError: as :func:`gpu_of_process`.
    """
    parsed = torch.device(device)
    if parsed.type == "cuda" and (ranks is not None or parsed.index is not None):
        torch.cuda.set_device(gpu_of_process(device, ranks or Ranks(), torch.cuda.device_count()))


def wrap_for_processes(model: nn.Module, *, find_unused: bool = False) -> nn.Module:
    """Wrap with DDP where there are several processes; on the CPU without device ids.

    Args:
        model: gets the parameters and buffers of the main process: a queue starts with random keys.
        find_unused: a step may leave parameters without a gradient; as may one of a model with the
            attribute ``find_unused_parameters``.
    """
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    for buffer in model.buffers():
        dist.broadcast(buffer, src=0)
    return NamingDDP(
        model,
        device_ids=[device.index] if device.type == "cuda" else None,
        broadcast_buffers=False,
        find_unused_parameters=find_unused or getattr(model, "find_unused_parameters", False),
    )


class NamingDDP(DistributedDataParallel):
    """DDP that names the parameters which got no gradient, and takes syncBN on the CPU."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the model.

        Raises:
            ValueError: in the step before, parameters got no gradient.
        """
        try:
            return super().forward(*inputs, **named)
        except RuntimeError as error:
            # torch counts the parameters that it averages.
            found = re.search(r"did not receive grad for rank \d+: ([\d ]+)", str(error))
            if found is None:
                raise
            names = [name for name, p in self.module.named_parameters() if p.requires_grad]
            unused = ", ".join(names[int(number)] for number in found[1].split())
            raise ValueError(
                "expected a gradient for each parameter in each step of several processes, got "
                f"none for {unused}; set MODEL.FIND_UNUSED_PARAMETERS True if a step may leave "
                "parameters out (a meta-architecture: the attribute find_unused_parameters), or "
                "name a loss in MODEL.LOSSES.NAME that depends on them"
            ) from error

    def _passing_sync_batchnorm_handle(self, module: nn.Module) -> None:
        """Skip torch's refusal of syncBN on the CPU, which compat repairs."""
        if self.device_type != "cpu":
            super()._passing_sync_batchnorm_handle(module)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a process stands in the run, and where the processes meet."""

    device: str
    ranks: Ranks
    address: str


def _spawned(
    local_rank: int, local_size: int, first: _Place, main: Callable[..., None], args: tuple
) -> None:
    # A spawned process spawns its loader workers too, and each of them imports torch and fastreid.
    mp.set_start_method(mp.get_all_start_methods()[0], force=True)  # the platform's default
    # Otherwise every process uses every core, which is slower than one process alone.
    torch.set_num_threads(max(1, torch.get_num_threads() // local_size))
    rank = first.ranks.rank + local_rank
    ranks = dataclasses.replace(first.ranks, rank=rank, local_rank=local_rank)
    _run_in_group(dataclasses.replace(first, ranks=ranks), main, args)


def _run_in_group(place: _Place, main: Callable[..., None], args: tuple) -> None:
    is_cuda = place.device.startswith("cuda")
    use_device(place.device, place.ranks)
    dist.init_process_group(
        "nccl" if is_cuda else "gloo",
        init_method=place.address,
        rank=place.ranks.rank,
        world_size=place.ranks.world_size,
    )
    _group_by_machine(place.ranks)
    with ending_together():
        main(*args)
    # Only after success: the others may be waiting in a collective that will never come.
    dist.destroy_process_group()


def _group_by_machine(ranks: Ranks) -> None:
    """Tell fastreid which processes share a machine; it asks this group for the local rank."""
    nodes = [0] * ranks.world_size
    dist.all_gather_object(nodes, ranks.node)
    for node in sorted(set(nodes)):
        group = dist.new_group([rank for rank, its in enumerate(nodes) if its == node])
        if node == ranks.node:
            comm._LOCAL_PROCESS_GROUP = group


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
