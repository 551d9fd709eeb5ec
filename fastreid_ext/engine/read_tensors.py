"""Which tensors of a model its features depend on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastreid_ext.engine.modes import modes_kept
from fastreid_ext.evaluation.features import batch_features

_USUAL_SIZE = (256, 128)  # height, width in pixels


def read_by_features(model: nn.Module, names: Sequence[str], size: Sequence[int]) -> list[str]:
    """Return those of some tensors that the features of an image depend on.

    Each is set to NaN in turn; if a feature becomes NaN, it was read. That holds for any
    architecture, and leaves out classifiers, queues and the like without knowing their names.

    Args:
        model: model of any architecture; its tensors and modes are put back.
        names: tensors to ask for, by their names in ``state_dict``.
        size: height and width in pixels of an image, ``INPUT.SIZE_TEST``; 0 stands for native
            sizes, of which 256 x 128 is one.
    """
    if not names:
        return []
    state = model.state_dict()
    floats = [name for name in names if state[name].is_floating_point()]
    device = next(model.parameters()).device
    height, width = size if min(size) > 0 else _USUAL_SIZE
    images = torch.full((2, 3, height, width), 127.0, device=device)
    with modes_kept(model), torch.no_grad():
        model.eval()
        before = _nan_features(model, images)  # of weights that diverged
        return [name for name in floats if (_with_nan(model, state[name], images) & ~before).any()]


def _nan_features(model: nn.Module, images: Tensor) -> Tensor:
    # An image of each modality, so that both stems of a two-stream backbone are read.
    batch = {"images": images.clone(), "modalities": torch.arange(2, device=images.device)}
    return batch_features(model, batch, flip=False).isnan()


def _with_nan(model: nn.Module, tensor: Tensor, images: Tensor) -> Tensor:
    kept = tensor.clone()
    tensor.fill_(torch.nan)
    try:
        return _nan_features(model, images)
    finally:
        tensor.copy_(kept)
