import pytest
import torch
from torch.nn import functional as F

from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.autoencoder_start import COLOUR_AXES
from fastreid_ext.diffusion.tiny.sizes import MINIATURE, TEST


@pytest.fixture
def images():
    """Patches of random colours, whose axes have the spread of rendered images."""
    generator = torch.Generator().manual_seed(0)
    axes = 0.6 * torch.randn(8, 3, 8, 4, generator=generator)
    colours = torch.einsum("ca,bahw->bchw", torch.linalg.inv(COLOUR_AXES), axes)
    return F.interpolate(colours, scale_factor=8)


@pytest.mark.parametrize("sizes", [TEST, MINIATURE], ids=["test", "miniature"])
def test_untrained_autoencoder_keeps_the_colours_of_cells(sizes, images):
    with models.seeded(0), torch.no_grad():
        autoencoder = models.build_autoencoder(sizes).eval()
        rebuilt = autoencoder(images).sample
    for axis in COLOUR_AXES:  # the rare one too; the scale of an image is learned later
        before = torch.einsum("c,bchw->bhw", axis, F.avg_pool2d(images, 4)).flatten()
        after = torch.einsum("c,bchw->bhw", axis, F.avg_pool2d(rebuilt, 4)).flatten()
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.9


def test_posterior_of_an_untrained_autoencoder_is_narrow():
    with models.seeded(0), torch.no_grad():
        posterior = models.build_autoencoder(TEST).encode(torch.zeros(1, 3, 32, 16)).latent_dist
    torch.testing.assert_close(posterior.logvar, torch.full_like(posterior.logvar, -4.0))
