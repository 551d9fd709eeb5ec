"""Memory and idleness of a device; :func:`.timing.seconds` is its clock."""

import resource
from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def forget_peak(device: torch.device) -> None:
    """Let :func:`peak_bytes` count from now; on the CPU it counts from the process's start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory in use: of the device, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def busy(device: torch.device, run: Callable[[], object], after: float = 0.0) -> float | None:
    """Return the share of the time in which a GPU computes; None on the CPU.

    Args:
        device: device that the work runs on.
        run: function that does the work to be profiled.
        after: seconds at its beginning that do not count.
    """
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        run()
        torch.cuda.synchronize(device)
    kernels = [event for event in found.events() if event.device_type == DeviceType.CUDA]
    spans = [(event.time_range.start, event.time_range.end) for event in kernels]
    return busy_share(spans, 1e6 * after)  # the profiler's clock counts microseconds


def busy_share(spans: Iterable[tuple[float, float]], after: float = 0.0) -> float:
    """Return the share of the time from the first begin to the last end that spans cover.

    Args:
        spans: begin and end of each.
        after: spans that begin earlier than so long after the first do not count.

    Raises:
        ValueError: there is none.
    """
    ordered = sorted(spans)
    ordered = [span for span in ordered if span[0] >= ordered[0][0] + after]
    if not ordered:
        raise ValueError(
            f"expected work of the device {after:g} us after its first, the profiler saw none; "
            "profile more steps, or install CUPTI if it sees nothing at all"
        )
    covered = 0.0
    reached = ordered[0][0]
    for begin, end in ordered:
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered / (reached - ordered[0][0])
