"""Pose guider: maps of a body to features that are added after the first convolution of a U-Net.

The papers are open to three readings of how several maps become the C channels of the U-Net's first
convolution; all are zero before the first step of training, so that the pre-trained U-Net starts
undisturbed [0]:

    "sum"     a guider of C channels for each map, summed; their last convolutions are zero
    "concat"  a guider of C channels for each map, concatenated, and a zero convolution to C
    "joint"   one guider over all maps, stacked as channels, with a zero last convolution

The features are added there, and not to the latents themselves, which have too few channels to hold
a pose.

Letters: B batch, K channels of all maps, H x W pixels, h x w latents, C channels of the U-Net's
first convolution.

[0] Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023, section
    3, https://arxiv.org/abs/2302.05543
"""

from collections.abc import Mapping, Sequence

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import Tensor, nn

COMBINATIONS = ("concat", "sum", "joint")
_WIDTHS = (16, 32, 96, 256)  # of ControlNet's condition embedding


class PoseGuider(ModelMixin, ConfigMixin):
    """Encoder of depth, normal and skeleton maps, zero at the start.

    Each guider is built like the condition embedding of ControlNet: a 3x3 convolution, and for each
    further width a 3x3 convolution and one of stride 2, with SiLU after each.

    Example:
        >>> guider = PoseGuider(widths=(4, 8), out_channels=16)
        >>> guider(torch.rand(2, 7, 32, 16)).shape, guider.stride
        (torch.Size([2, 16, 16, 8]), 2)

    Args:
        conditions: names of the maps in the order of the input's channels.
        channels: number of channels of each map.
        widths: channels of the guiders' layers, one stride of 2 between two of them.
        out_channels: number C of channels after the U-Net's first convolution.
        combine: "concat", "sum" or "joint", see the module.
    """

    @register_to_config
    def __init__(
        self,
        conditions: Sequence[str] = ("depth", "normal", "skeleton"),
        channels: Sequence[int] = (1, 3, 3),
        widths: Sequence[int] = _WIDTHS,
        out_channels: int = 320,
        combine: str = "concat",
    ) -> None:
        super().__init__()
        if combine not in COMBINATIONS:
            raise ValueError(
                f"expected guiders combined by {', '.join(COMBINATIONS)}, got '{combine}'; choose "
                "one of them"
            )
        if len(conditions) != len(channels) or not conditions:
            raise ValueError(
                f"expected a number of channels for each condition, got {list(conditions)} and "
                f"{list(channels)}; give one number for each name"
            )
        inputs = [sum(channels)] if combine == "joint" else list(channels)
        self.guiders = nn.ModuleList(
            ControlNetConditioningEmbedding(out_channels, number, tuple(widths))
            for number in inputs
        )
        self.projection = None
        if combine == "concat":
            for guider in self.guiders:
                # After a zero projection, a zero guider would never get a gradient.
                guider.conv_out.reset_parameters()
            self.projection = nn.Conv2d(len(inputs) * out_channels, out_channels, kernel_size=1)
            nn.init.zeros_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)

    @property
    def stride(self) -> int:
        """Edge in pixels of the square behind one place of the output."""
        return 2 ** (len(self.config.widths) - 1)

    @property
    def in_channels(self) -> int:
        """Number K of channels of all maps together."""
        return sum(self.config.channels)

    def forward(self, conditions: Tensor) -> Tensor:
        """Compute the features (B, C, h, w) of maps (B, K, H, W) in [0, 1].

        Raises:
            ValueError: another number of channels, or H or W is not a multiple of the stride.
        """
        if conditions.ndim != 4 or conditions.shape[1] != self.in_channels:
            parts = zip(self.config.conditions, self.config.channels, strict=True)
            raise ValueError(
                f"expected conditions (B, {self.in_channels}, H, W) of "
                f"{', '.join(f'{name} ({number})' for name, number in parts)}, got "
                f"{tuple(conditions.shape)}; stack these maps in this order"
            )
        if any(edge % self.stride for edge in conditions.shape[2:]):
            raise ValueError(
                f"expected height and width of the conditions to be multiples of {self.stride}, "
                f"got {list(conditions.shape[2:])}; render them at the size of the image"
            )
        conditions = conditions.to(self.dtype)
        if self.config.combine == "joint":
            return self.guiders[0](conditions)
        maps = conditions.split(list(self.config.channels), dim=1)
        features = [guider(one) for guider, one in zip(self.guiders, maps, strict=True)]
        if self.projection is None:
            return torch.stack(features).sum(dim=0)
        return self.projection(torch.cat(features, dim=1))

    @torch.no_grad()
    def start_from_controlnet(self, embedding: Mapping[str, Tensor]) -> None:
        """Copy the condition embedding of a ControlNet into every guider, without its last layer.

        A ControlNet reads RGB. Its first weights are summed over the colours for a map of one
        channel, which so counts as grey; under "joint" they are divided by the number of maps.

        Args:
            embedding: tensors of a ``ControlNetConditioningEmbedding``, by name.

        Raises:
            ValueError: the embedding has other widths than the guiders.
        """
        names = [name for name in self.guiders[0].state_dict() if not name.startswith("conv_out.")]
        for guider, numbers in zip(self.guiders, self._channels_of_guiders(), strict=True):
            own = guider.state_dict()
            for name in names:
                found = embedding.get(name)
                if found is not None and name == "conv_in.weight":
                    found = _first_weights(found, numbers)
                if found is None or found.shape != own[name].shape:
                    got = "no such tensor" if found is None else tuple(found.shape)
                    raise ValueError(
                        f"expected {name} of shape {tuple(own[name].shape)} in the ControlNet's "
                        f"condition embedding, got {got}; the guider's widths "
                        f"{list(self.config.widths)} must be the beginning of its widths"
                    )
                own[name].copy_(found)

    def _channels_of_guiders(self) -> list[list[int]]:
        """List the channels of the maps that each guider reads."""
        channels = list(self.config.channels)
        return [channels] if self.config.combine == "joint" else [[number] for number in channels]


def widths_for(stride: int) -> tuple[int, ...]:
    """Choose the widths of guiders whose output has a place for ``stride`` x ``stride`` pixels.

    They are those of ControlNet as far as they are needed: 16, 32, 96, 256 for a stride of 8.

    Raises:
        ValueError: the stride is not 2, 4 or 8.

    Example:
        >>> widths_for(4)
        (16, 32, 96)
    """
    stages = stride.bit_length() - 1
    if 2**stages != stride or not 0 < stages < len(_WIDTHS):
        raise ValueError(
            f"expected a VAE with 2, 4 or 8 pixels per latent, got {stride}; give the guiders' "
            "widths, one more than strides of 2"
        )
    return _WIDTHS[: stages + 1]


def _first_weights(weights: Tensor, channels: Sequence[int]) -> Tensor:
    """Fit first weights (out, 3, 3, 3) of RGB to maps of the given channels."""
    parts = [weights if number == 3 else weights.sum(dim=1, keepdim=True) for number in channels]
    return torch.cat(parts, dim=1) / len(channels)
