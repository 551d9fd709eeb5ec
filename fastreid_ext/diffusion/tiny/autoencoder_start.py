"""Initial weights of the tiny autoencoder: averages of 4x4 pixels instead of noise.

From random weights an autoencoder learns the directions of the data one by one, the slower the less
they vary; green against magenta, a sixteenth of the variance of brightness, comes too late for a
short training, and yellow clothes stay orange. Here the three axes of colour, each in units of its
spread, run through the whole network from the first step:

- the second convolution of each residual branch is zero, so that only the shortcuts act;
- an axis runs as a pair of channels ``x, -x``, because ``silu(x) - silu(-x) = x`` exactly, and
  because a pair leaves the mean of its group of channels at zero;
- down-sampling averages, up-sampling repeats.

All other channels keep their random weights. The classes and names of the weights are diffusers'.
"""

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

# Brightness, blue against yellow, green against magenta: axes of RGB in [-1, 1], each divided by
# its standard deviation over the 4x4 cells of rendered persons.
_SPREAD = (0.36, 0.24, 0.09)
COLOUR_AXES = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [-0.5, -0.5, 1.0], [-0.5, 1.0, -0.5]])
COLOUR_AXES = COLOUR_AXES / torch.tensor(_SPREAD)[:, None]  # (3 axes, 3 channels RGB)
_PAIRED = 2 * len(COLOUR_AXES)
_FIRST_LOG_VARIANCE = -4.0  # of the posterior


@torch.no_grad()
def start_at_averages(autoencoder: AutoencoderKL) -> None:
    """Set the weights, in place, so that latents are mean colours of 4x4 cells."""
    for module in autoencoder.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
            if module.conv_shortcut is not None:
                _pass_on(module.conv_shortcut)
    encoder = autoencoder.encoder
    decoder = autoencoder.decoder
    _set_rows(encoder.conv_in, _paired_rows(COLOUR_AXES))
    for block in encoder.down_blocks:
        for down in block.downsamplers or ():
            _average(down.conv)
    _set_rows(encoder.conv_out, _paired_rows(torch.eye(3)).T)
    latents = autoencoder.config.latent_channels
    encoder.conv_out.weight[latents:] = 0
    encoder.conv_out.bias[latents:] = _FIRST_LOG_VARIANCE
    for layer in (autoencoder.quant_conv, autoencoder.post_quant_conv):
        layer.weight[..., 0, 0] = torch.eye(len(layer.weight))
        nn.init.zeros_(layer.bias)
    _set_rows(decoder.conv_in, _paired_rows(torch.eye(3)))
    for block in decoder.up_blocks:
        for up in block.upsamplers or ():
            _pass_on(up.conv)
    _set_rows(decoder.conv_out, _paired_rows(torch.linalg.inv(COLOUR_AXES).T).T)


def _paired_rows(rows: Tensor) -> Tensor:
    """Stack each of 3 rows (3, n) and its negative to (6, n)."""
    return torch.stack([rows, -rows], dim=1).reshape(_PAIRED, -1)


def _set_rows(layer: nn.Conv2d, values: Tensor) -> None:
    """Set the first rows of a convolution to ``values`` (rows, n) of its first n inputs alone."""
    rows, inputs = values.shape
    layer.weight[:rows] = 0
    layer.bias[:rows] = 0
    middle = layer.kernel_size[0] // 2
    layer.weight[:rows, :inputs, middle, middle] = values


def _pass_on(layer: nn.Conv2d) -> None:
    """Make a convolution the identity of the paired channels."""
    _set_rows(layer, torch.eye(_PAIRED))


def _average(layer: nn.Conv2d) -> None:
    """Make a 3x3 convolution of stride 2 average the paired channels over 2x2 pixels.

    diffusers pads such a convolution below and on the right only.
    """
    layer.weight[:_PAIRED] = 0
    layer.bias[:_PAIRED] = 0
    for channel in range(_PAIRED):
        layer.weight[channel, channel, :2, :2] = 0.25
