"""The part of a job that this process does, and the lock that keeps other processes out of it.

Shards are static: shard i of n does every n-th identity, starting with the i-th. They communicate
through finished files only, so they may run at the same time or in turn, on any machines that see
the folder.
"""

import contextlib
import dataclasses
import errno
import fcntl
import logging
import math
import os
import platform
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from fastreid_ext.generation.runs import heartbeat
from fastreid_ext.ranks import SLURM, read_ranks

Item = TypeVar("Item")
_LOCKS = "locks"
# What file systems answer that know no flock: some Lustre mounts, FUSE and object stores.
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of the parts that the identities of a job are divided into.

    Attributes:
        index: number of the part, from 0.
        count: number of parts in all.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"expected a shard INDEX/COUNT with 0 <= INDEX < COUNT, got {self}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Sequence[Item]) -> list[Item]:
        """List this shard's part of some items.

        Args:
            items: items of all shards, in the same order for all.
        """
        return list(items[self.index :: self.count])

    def overlaps(self, other: "Shard") -> bool:
        """Tell whether a long list has an item that belongs to both shards.

        Args:
            other: part that another process does.
        """
        return (self.index - other.index) % math.gcd(self.count, other.count) == 0


def shard_of(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Find the shard of this process.

    Under ``torchrun``, ``accelerate launch`` or ``srun`` each process has a shard of its own. With
    ``text`` as well, the processes of a command divide its part: ``torchrun --nproc-per-node 8 ...
    --shard 1/4`` makes, on the second of four machines, shards 1, 5, ..., 29 of 32. The other
    machines may have other numbers of processes. Nothing is sent between processes, so no process
    group is made.

    Args:
        text: "INDEX/COUNT" of the command line, or "" for the whole job.
        environment: variables of the launcher, see :func:`fastreid_ext.ranks.read_ranks`.

    Raises:
        ValueError: the text is not INDEX/COUNT with INDEX < COUNT.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text or "0/1")
    if not match or int(match[1]) >= int(match[2]):
        raise ValueError(f"expected --shard INDEX/COUNT with INDEX < COUNT, got '{text}'")
    return Shard(*read_ranks(environment).share_of((int(match[1]), int(match[2]))))


def local_device(
    device: str, environment: Mapping[str, str] = os.environ, visible: int | None = None
) -> str:
    """Choose the GPU of this process under a launcher, or else MODEL.DEVICE itself.

    Slurm may show each process only its own GPU (``--gpus-per-task 1``), which is then number 0.

    Args:
        device: value of MODEL.DEVICE, such as "cuda".
        environment: environment variables that the launcher sets.
        visible: number of GPUs that this process sees; None to ask torch.
    """
    ranks = read_ranks(environment)
    if device != "cuda" or not ranks.launcher:
        return device
    visible = torch.cuda.device_count() if visible is None else visible
    is_bound = ranks.launcher == SLURM and visible == 1
    return "cuda:0" if is_bound else f"cuda:{ranks.local_rank}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worker:
    """One of the processes that do a job.

    Attributes:
        output: folder of the job, OUTPUT_DIR.
        shard: part of the identities that this worker does.
        retries: names of the stages in which all workers try failed identities again.
        wait: minutes to wait for other workers while none of them finishes anything; 0 for none.
        began: time of the start in seconds by the clock of the job's file system, which may differ
            from this machine's.
    """

    output: Path
    shard: Shard = dataclasses.field(default_factory=Shard)
    retries: Collection[str] = ()
    wait: float = 60.0
    began: float = 0.0

    @property
    def is_first(self) -> bool:
        """Tell whether this worker does the work that is done once for all workers."""
        return self.shard.index == 0

    def failure(self, stage: str, name: str) -> Path:
        """Name the file with the reason why an identity failed.

        Args:
            stage: name of the stage, such as "caption".
            name: name of the identity or reference set.
        """
        return self.output / "failed" / stage / f"{name}.json"

    def has_failed(self, stage: str, name: str) -> bool:
        """Tell whether an identity failed and no worker is about to try it again.

        Args:
            stage: name of the stage, such as "caption".
            name: name of the identity or reference set.
        """
        try:
            failed = self.failure(stage, name).stat().st_mtime
        except FileNotFoundError:
            return False
        return stage not in self.retries or failed >= self.began


@contextlib.contextmanager
def shard_lock(output: Path, shard: Shard) -> Iterator[float]:
    """Hold the lock of a shard within the block; the system frees it when the process ends.

    On a file system without flock the lock is a file that its owner touches.

    Args:
        output: folder of the whole job.
        shard: part that this process does.

    Yields:
        Time of the start in seconds, by the clock of the file system.

    Raises:
        ValueError: another process holds it, or a shard that overlaps with it.
    """
    folder = Path(output) / _LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            began = stack.enter_context(_system_lock(folder, output, shard))
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            _log.warning(
                "the file system of %s has no flock (%s): a shard is held by a file that its "
                "process touches instead, and is free %g s after that process was killed",
                folder,
                error.strerror,
                heartbeat.STALE,
            )
            began = stack.enter_context(_touched_lock(folder, output, shard))
        yield began


@contextlib.contextmanager
def _system_lock(folder: Path, output: Path, shard: Shard) -> Iterator[float]:
    path = folder / f"{shard.index}-of-{shard.count}.lock"
    with open(path, "a+", encoding="utf-8") as file:
        if not _locked(file.fileno()):
            raise ValueError(_held(_holder(path), output, shard))
        for other in _overlapping(folder, shard, "lock"):
            if _is_held(other):
                raise ValueError(_overlaps(_holder(other), other, output, shard))
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield os.fstat(file.fileno()).st_mtime


def wait_for(
    names: Sequence[str],
    is_settled: Callable[[str], bool],
    *,
    stage: str,
    worker: Worker,
    seconds_between_looks: float = 2.0,
) -> None:
    """Wait until the other workers have done, or failed to do, their part of a stage.

    Args:
        names: identities or reference sets of all workers.
        is_settled: function that tells whether one of them is done or has failed.
        stage: name of the stage for messages.
        worker: worker that waits for the others.
        seconds_between_looks: seconds between two looks at the files.

    Raises:
        TimeoutError: none of them has finished anything for ``worker.wait`` minutes.
    """
    missing = [name for name in names if not is_settled(name)]
    last_change = time.monotonic()
    if missing:
        _log.info("stage %s: waiting for %d of other workers", stage, len(missing))
    while missing:
        if time.monotonic() - last_change >= 60 * worker.wait:
            part = {name: index % worker.shard.count for index, name in enumerate(names)}
            shards = sorted({f"{part[name]}/{worker.shard.count}" for name in missing})
            raise TimeoutError(
                f"stage {stage} is not finished: {len(missing)} of {len(names)} are left to shards "
                f"{', '.join(shards)}, which have finished none for {worker.wait:g} minutes; run "
                "those, then this command again"
            )
        time.sleep(seconds_between_looks)
        left = [name for name in missing if not is_settled(name)]
        if len(left) < len(missing):
            last_change = time.monotonic()
        missing = left


@contextlib.contextmanager
def _touched_lock(folder: Path, output: Path, shard: Shard) -> Iterator[float]:
    path = folder / f"{shard.index}-of-{shard.count}.owner"
    with contextlib.ExitStack() as stack:
        try:
            began = stack.enter_context(heartbeat.heartbeat_lock(path))
        except heartbeat.HeldError as error:
            raise ValueError(_held(str(error), output, shard)) from error
        for other in _overlapping(folder, shard, "owner"):
            if heartbeat.is_beating(other):
                raise ValueError(_overlaps(heartbeat.owner_of(other), other, output, shard))
        yield began


def _overlapping(folder: Path, shard: Shard, suffix: str) -> list[Path]:
    """List the locks of other shards that share identities with this one."""
    others = {path: path.stem.split("-of-") for path in sorted(folder.glob(f"*.{suffix}"))}
    shards = {path: Shard(*map(int, numbers)) for path, numbers in others.items()}
    return [path for path, other in shards.items() if other != shard and other.overlaps(shard)]


def _held(holder: str, output: Path, shard: Shard) -> str:
    return (
        f"another process ({holder}) works on shard {shard} of {output}; wait until it ends, or "
        "give each process a --shard of its own"
    )


def _overlaps(holder: str, other: Path, output: Path, shard: Shard) -> str:
    return (
        f"a process ({holder}) works on shard {other.stem.replace('-', ' ')} of {output}, which "
        f"overlaps with {shard}; wait until it ends, or divide the job in one way"
    )


def _locked(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    with open(path, encoding="utf-8") as file:
        # Shared, for other workers may be looking too; closing gives it back.
        return not _locked(file.fileno(), fcntl.LOCK_SH)


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8") or "just started"
