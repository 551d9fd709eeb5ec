import dataclasses

import pytest
import torch

from fastreid_ext.diffusion.stable_diffusion import read_base
from fastreid_ext.diffusion.tiny import models
from fastreid_ext.diffusion.tiny.sizes import TEST
from measuring.device_use import busy_share
from measuring.sampling import measure_sampling
from measuring.stable_diffusion import random_base

from ...tiny_sampling import tiny_sampling

SAMPLING = tiny_sampling(guidance_scale=7.5)


def measured(folder, device, rank):
    models.save_pipeline(folder / "tiny", TEST, ["a photo of a person"])
    base = read_base(folder / "tiny", name="tiny", device=torch.device(device), dtype=torch.float32)
    before = base.unet.state_dict().keys()
    figures = measure_sampling(base, SAMPLING, persons=2, images=3, rank=rank)
    assert base.unet.state_dict().keys() == before
    return figures


@pytest.mark.parametrize("rank", [0, 2])
def test_figures_on_the_cpu(tmp_path, rank):
    figures = measured(tmp_path, "cpu", rank)
    assert figures.images == 6
    assert figures.images_per_second == 6 / figures.seconds
    assert figures.cost_of_files < 1
    assert figures.peak_bytes > 50e6
    assert figures.busy is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_figures_on_a_gpu(tmp_path):
    figures = measured(tmp_path, "cuda", 2)
    assert 1e6 < figures.peak_bytes < 1e9
    assert 0 < figures.busy <= 1


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([(0, 4)], 1.0),
        ([(3, 4), (0, 1)], 0.5),  # in any order
        ([(0, 2), (1, 2), (1, 3), (4, 5)], 0.8),  # overlapping
    ],
)
def test_share_of_time_covered(spans, share):
    assert busy_share(spans) == pytest.approx(share)


def test_what_comes_first_may_not_count():
    spans = [(10, 11), (20, 21), (22, 23)]
    assert busy_share(spans, 10) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"expected work of the device 20 us after .* saw none"):
        busy_share(spans, 20)
    with pytest.raises(ValueError, match="install CUPTI"):
        busy_share([])


def test_the_large_model_is_stable_diffusion_v1():
    """Counts of the published model, in millions; on "meta", where nothing is allocated."""
    base = random_base("sd1", torch.device("meta"), torch.bfloat16)
    counts = [
        round(sum(weight.numel() for weight in part.parameters()) / 1e6, 2)
        for part in (base.unet, base.vae, base.text_encoder)
    ]
    assert counts == [859.52, 83.65, 123.06]
    assert base.latent_shape((512, 256)) == (4, 64, 32)


def test_the_small_model_generates():
    base = random_base("miniature", torch.device("cpu"), torch.float32)
    few = dataclasses.replace(SAMPLING, size=(64, 32), steps=1, batch_size=2)
    assert measure_sampling(base, few, persons=1, images=2).images == 2
