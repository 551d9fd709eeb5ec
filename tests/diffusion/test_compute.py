"""GENERATION.COMPUTE changes speed and memory, not what is generated or learned."""

import dataclasses

import numpy as np
import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.diffusion.compute import ComputeSettings
from fastreid_ext.diffusion.stable_diffusion import read_base
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from fastreid_ext.generation.sampling.sampler import ImageRequest, sample_images

from ..tiny_sampling import tiny_sampling

SETTINGS = tiny_sampling(size=(64, 32), batch_size=2)


@pytest.fixture(scope="module")
def read(tiny_pipeline_folder):
    def opened(**compute):
        return read_base(
            tiny_pipeline_folder,
            name="tiny@0",
            device=torch.device("cpu"),
            dtype=torch.float32,
            compute=ComputeSettings(**compute),
        )

    return opened


def images(base, bank=None, adapters=(-1, -1), settings=SETTINGS):
    wanted = [
        ImageRequest(identity="p", prompt="a man", seed=n, adapter=adapter)
        for n, adapter in enumerate(adapters)
    ]
    return np.stack([d.pixels for d in sample_images(base, bank, wanted, settings)]).astype(int)


def with_adapters(base, targets, seed):
    bank = LoraBank(base.unet, count=2, rank=2, alpha=2, target_modules=targets)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        bank.weights.copy_(1.5 * torch.randn(bank.weights.shape, generator=generator))
    return bank


def test_compute_settings_are_read_from_the_configuration():
    cfg = load_config("", ["MODEL.DEVICE", "cpu"])
    assert ComputeSettings.from_config(cfg) == ComputeSettings()
    fields = [field.name for field in dataclasses.fields(ComputeSettings)]
    assert [key.lower() for key in cfg.GENERATION.COMPUTE] == fields
    keys = [f"GENERATION.COMPUTE.{key}" for key in cfg.GENERATION.COMPUTE]
    values = ["eager" if key.endswith("COMPILE") else "True" for key in keys]
    pairs = [part for pair in zip(keys, values, strict=True) for part in pair]
    on = ComputeSettings.from_config(load_config("", ["MODEL.DEVICE", "cpu", *pairs]))
    assert on == ComputeSettings(**{f: "eager" if f == "compile" else True for f in fields})


@pytest.mark.parametrize("name", ["channels_last", "attention_slicing", "vae_slicing"])
def test_compute_settings_change_images_by_rounding_only(read, name):
    base = read(**{name: True})
    is_on = {
        "channels_last": base.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        and base.vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last),
        "attention_slicing": any(
            "Sliced" in type(processor).__name__ for processor in base.unet.attn_processors.values()
        ),
        "vae_slicing": base.vae.use_slicing,
    }
    assert is_on[name]
    for adapters in ((-1, -1), (1, 0)):
        found = []
        expected = []
        for model, into in ((base, found), (read(), expected)):
            bank = with_adapters(model, ["to_q", "to_v"], 0)
            into.append(images(model, bank, adapters))
            bank.remove()
        assert np.abs(found[0] - expected[0]).max() <= 1


def test_vae_tiling_blends_tiles(read):
    """Images larger than the VAE was made for: nearly those of one piece, but not the same."""
    tiled = images(read(vae_tiling=True))
    whole = images(read())
    assert 0 < np.abs(tiled - whole).mean() < 20


def test_tf32_is_switched_on_for_the_process(read):
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        torch.backends.cuda.matmul.allow_tf32 = False
        read()
        assert not torch.backends.cuda.matmul.allow_tf32
        read(tf32=True)
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


@pytest.mark.slow
def test_compiled_unet_follows_changed_adapters(read):
    """By default torch.compile goes on with the hooks it saw first."""
    small = dataclasses.replace(SETTINGS, size=(32, 16))
    found = {}
    for backend in ("", "eager"):
        base = read(compile=backend)
        seen = found[backend] = [images(base, settings=small)]
        for targets in (["to_q"], ["to_v"]):
            bank = with_adapters(base, targets, 0)
            seen.append(images(base, bank, (0, 1), small))
            bank.remove()
        seen.append(images(base, settings=small))
    for plain, compiled in zip(*found.values(), strict=True):
        assert np.abs(plain - compiled).max() <= 1
    assert np.abs(found["eager"][0] - found["eager"][1]).max() > 3
