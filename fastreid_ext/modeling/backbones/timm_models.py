"""Feature maps of timm's models: which model gives one and its shape, without weights or download.

A model is built on torch's "meta" device, where tensors have shapes but no values, and sent an
image: seconds at most, whatever its size. timm is imported when a model of it is asked for, because
that takes a second.

Letters: B batch, C channels, h x w rows and columns of a map, N tokens.
"""

import dataclasses
import functools
import math

import torch
from torch import Tensor, nn

from fastreid_ext.names import unknown_name

STRIDES = (4, 8, 14, 16, 32, 64)


@dataclasses.dataclass(frozen=True)
class TimmMap:
    """Shape of what a model's ``forward_features`` gives for one image size.

    Attributes:
        channels: number of channels C.
        grid: rows and columns (h, w) of the map.
        layout: "NCHW", "NHWC" or "tokens" (B, N, C) by rows.
        prefix_tokens: tokens before those of the patches (class, registers).
        one_size: whether the model takes images of this size only.
    """

    channels: int
    grid: tuple[int, int]
    layout: str
    prefix_tokens: int
    one_size: bool

    def to_map(self, features: Tensor) -> Tensor:
        """Turn what ``forward_features`` gives into (B, C, h, w)."""
        if self.layout == "NCHW":
            return features
        if self.layout == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features[:, self.prefix_tokens :].transpose(1, 2).unflatten(2, self.grid)


def new_timm_model(name: str, image_size: tuple[int, int]) -> nn.Module:
    """Build timm's model ``name`` with random weights, without its classifier.

    Args:
        name: name of the model in timm, with or without the tag of pre-trained weights.
        image_size: rows and columns of the images in pixels; only models of one size read it.
    """
    import timm

    size = {"img_size": image_size} if _has_one_size(name) else {}
    make = functools.partial(timm.create_model, name, pretrained=False, num_classes=0, **size)
    try:
        return make(global_pool="")
    except AssertionError:  # a few heads insist on pooling; the map is taken before it
        return make()


@functools.lru_cache(maxsize=64)
def timm_map(name: str, image_size: tuple[int, int]) -> TimmMap:
    """Measure the map of timm's model ``name`` for images of ``image_size`` (rows, columns).

    Example:
        >>> timm_map("test_vit", (160, 160)).grid
        (10, 10)

    Raises:
        ValueError: the name is unknown, or the model gives no map at this size.
    """
    _check_name(name)
    size = f"{image_size[0]} x {image_size[1]}"
    try:
        with torch.device("meta"), torch.no_grad():
            model = new_timm_model(name, image_size).eval()
            features = model.forward_features(torch.empty(2, 3, *image_size))
    except Exception as error:  # timm's models fail in many ways; the reason goes to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"timm's '{name}' gives no map for images of {size} ({reason}); take another model, "
            "such as 'convnext_tiny', or another INPUT.SIZE_TRAIN"
        ) from error
    layout = _layout(model, features, image_size)
    if layout is None:
        reason = _misfit(model, image_size) or _other_shape(features)
        raise ValueError(f"timm's '{name}' gives no map for images of {size}{reason}")
    return TimmMap(model.num_features, *layout, one_size=_has_one_size(name))


def parameters_without_gradient(name: str, image_size: tuple[int, int]) -> list[str]:
    """Name the parameters that the map does not depend on, such as a norm after pooling."""
    with torch.device("meta"), torch.enable_grad():
        model = new_timm_model(name, image_size).eval()
        model.forward_features(torch.empty(2, 3, *image_size)).sum().backward()
    return [key for key, parameter in model.named_parameters() if parameter.grad is None]


def _check_name(name: str) -> None:
    import timm

    if not name:
        raise ValueError("MODEL.BACKBONE.TIMM_NAME is empty; give the name of a timm model")
    known = timm.list_models()
    if ":" in name or "/" in name:
        raise ValueError(
            f"expected the plain name of a timm model in MODEL.BACKBONE.TIMM_NAME, got '{name}'; "
            "nothing is downloaded: weights come from MODEL.BACKBONE.PRETRAIN_PATH"
        )
    if name.split(".")[0] not in known:
        raise ValueError(
            f"{unknown_name('MODEL.BACKBONE.TIMM_NAME', name, known)} "
            "(timm.list_models() gives all names)"
        )


def _has_one_size(name: str) -> bool:
    import timm

    config = timm.get_pretrained_cfg(name)
    return bool(config and config.fixed_input_size)


def _misfit(model: nn.Module, image_size: tuple[int, int]) -> str:
    """Describe patches that do not fill an image; "" where they do or there are none."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None) or 1
    patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
    fits = not any(side % length for side, length in zip(image_size, patch, strict=True))
    if fits or not hasattr(model, "num_prefix_tokens"):
        return ""
    return (
        f": its patches of {patch[0]} x {patch[1]} do not fill them; take INPUT.SIZE_TRAIN of "
        "multiples of that"
    )


def _other_shape(features: object) -> str:
    got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
    return (
        f", but {got}; take a model with feature maps or with patches in rows, such as "
        "'convnext_tiny'"
    )


def _layout(
    model: nn.Module, features: object, image_size: tuple[int, int]
) -> tuple[tuple[int, int], str, int] | None:
    """Return grid, layout and number of prefix tokens, or None where there is no map."""
    width = model.num_features
    if not isinstance(features, Tensor):
        return None
    shape = tuple(features.shape)
    if len(shape) == 4 and shape[1] == width:
        return shape[2:], "NCHW", 0
    if len(shape) == 4 and shape[3] == width:
        return shape[1:3], "NHWC", 0
    # Only models that say how many tokens come first have patches in rows behind them.
    prefix = getattr(model, "num_prefix_tokens", None)
    if len(shape) != 3 or shape[2] != width or prefix is None or _misfit(model, image_size):
        return None
    for stride in STRIDES:
        grid = tuple(math.ceil(side / stride) for side in image_size)
        if math.prod(grid) == shape[1] - prefix:
            return grid, "tokens", prefix
    return None
