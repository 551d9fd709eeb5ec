"""Copies between host and device that do not wait for the device's work."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to the device.

    Memory is pinned first: without it PyTorch would wait until the device has finished its queue.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> tuple[Tensor | torch.cuda.Event | None, ...]:
    """Start to copy tensors of one device to the host.

    Returns:
        The tensors on the host, and last the event of their arrival; None on the CPU, where the
        tensors are complete.
    """
    if tensors[0].device.type != "cuda":
        return *tensors, None
    on_host = [torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors]
    for target, source in zip(on_host, tensors, strict=True):
        target.copy_(source, non_blocking=True)
    arrival = torch.cuda.Event()
    arrival.record(torch.cuda.current_stream(tensors[0].device))  # not that of the first GPU
    return *on_host, arrival
