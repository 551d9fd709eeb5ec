"""Between host and device without waiting for what the device is doing."""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on the device.

    From memory that is not pinned PyTorch would wait until the device has done all it was told.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetched(*tensors: Tensor) -> tuple[Tensor | torch.cuda.Event | None, ...]:
    """Start to bring tensors to the host; the event that comes last says when they are there.

    Returns:
        The tensors on the host, and the event: None on the CPU, where they are there already.
    """
    if tensors[0].device.type != "cuda":
        return *tensors, None
    on_host = [torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors]
    for target, source in zip(on_host, tensors, strict=True):
        target.copy_(source, non_blocking=True)
    arrival = torch.cuda.Event()
    arrival.record(torch.cuda.current_stream(tensors[0].device))  # not that of the first GPU
    return *on_host, arrival
