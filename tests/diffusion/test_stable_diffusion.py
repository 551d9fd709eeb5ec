"""Loading the base model, and its three conversions."""

import json
import re
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from fastreid.config import get_cfg
from safetensors.torch import load_file, save_file

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.diffusion.pipeline_folder import find_base_folder, fingerprint_of
from fastreid_ext.diffusion.stable_diffusion import load_base


def config_of(folder, dtype="float32"):
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.GENERATION.BASE_MODEL = str(folder)
    cfg.GENERATION.DTYPE = dtype
    return cfg


@pytest.fixture(scope="module")
def base(tiny_pipeline_folder):
    return load_base(config_of(tiny_pipeline_folder))


@pytest.fixture
def copied(tiny_pipeline_folder, tmp_path):
    return shutil.copytree(tiny_pipeline_folder, tmp_path / "copied")


def test_base_is_frozen_named_and_of_the_wanted_dtype(tiny_pipeline_folder):
    base = load_base(config_of(tiny_pipeline_folder, "bfloat16"), device="cpu")
    for part in (base.unet, base.vae, base.text_encoder):
        assert not part.training
        assert {parameter.dtype for parameter in part.parameters()} == {torch.bfloat16}
        assert not any(parameter.requires_grad for parameter in part.parameters())
    assert base.name == f"pipeline@{fingerprint_of(tiny_pipeline_folder)}"


def test_prompts_are_encoded_as_the_pipeline_does(base, tiny_pipeline_folder):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder, safety_checker=None)
    expected, _ = pipeline.encode_prompt("a man walking", "cpu", 1, False)
    encoded = base.encode_prompts(["a man walking", "a photo of a woman"])
    assert encoded.shape == (2, 77, base.unet.config.cross_attention_dim)
    torch.testing.assert_close(encoded[:1], expected)


def test_images_are_encoded_with_the_scale_the_pipeline_decodes(base):
    images = torch.randint(0, 256, (9, 3, 32, 16), dtype=torch.uint8)
    mean, std = base.encode_posterior(images)
    posterior = base.vae.encode(images.float() / 127.5 - 1).latent_dist
    scale = base.vae.config.scaling_factor
    torch.testing.assert_close(mean, posterior.mean * scale, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(std, posterior.std * scale, atol=1e-5, rtol=1e-4)
    assert mean.shape[1:] == base.latent_shape((32, 16))


def test_decode_rounds_pixels(base):
    latents = torch.randn(2, *base.latent_shape((32, 16)))
    pixels = base.vae.decode(latents / base.vae.config.scaling_factor).sample
    expected = ((pixels + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    decoded = base.decode(latents)
    assert decoded.dtype == torch.uint8
    assert torch.equal(decoded, expected)


def test_prompt_that_is_too_long_is_refused(base):
    with pytest.raises(ValueError, match=r"at most 77 tokens, got \d+ in 'a man a man"):
        base.encode_prompts(["a photo", "a man " * 60])


def test_encode_refuses_wrong_images_and_sizes(base):
    with pytest.raises(ValueError, match=r"expected images \(B, 3, H, W\) uint8, got \(1, 3, 8, 8"):
        base.encode_posterior(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"multiples of 4 \(GENERATION.SIZE\), got \[33, 16\]"):
        base.latent_shape((33, 16))


def test_fingerprint_follows_the_weights(copied, tiny_pipeline_folder):
    assert fingerprint_of(copied) == fingerprint_of(tiny_pipeline_folder)
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert fingerprint_of(copied) != fingerprint_of(tiny_pipeline_folder)
    snapshot = copied.rename(copied.parent / "0123456789abcdef")
    (copied.parent / "snapshots").mkdir()
    moved = snapshot.rename(copied.parent / "snapshots" / snapshot.name)
    assert fingerprint_of(moved) == "0123456789ab"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such-model", "'no/such-model' .GENERATION.BASE_MODEL. is neither a folder here nor"),
        ("/no/such/folder", "expected GENERATION.BASE_MODEL to be a folder or a hub id, got"),
    ],
)
def test_base_missing_is_named(source, message, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match=message):
        find_base_folder(source)


def halved(folder, part):
    """Store the weights of a part in half precision alone, as the hub's variant fp16."""
    weights = next((folder / part).glob("*.safetensors"))
    numbers = {key: tensor.half() for key, tensor in load_file(weights).items()}
    save_file(numbers, weights.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    weights.unlink()


def test_parts_in_half_precision_load_where_there_are_no_others(copied, base):
    for part in ("unet", "vae", "text_encoder"):
        halved(copied, part)
        read = load_base(config_of(copied))
        assert {p.dtype for p in getattr(read, part).parameters()} == {torch.float32}
        for own, half in zip(
            getattr(base, part).parameters(), getattr(read, part).parameters(), strict=True
        ):
            assert torch.equal(own.half().float(), half)


def test_base_of_another_variant_is_refused(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".non_ema.safetensors"))
    with pytest.raises(ValueError, match=r"or of the variant fp16, in .*unet, got only .*non_ema"):
        find_base_folder(str(copied))


def test_vae_can_be_replaced(copied, base, tmp_path):
    own = shutil.copytree(copied / "vae", tmp_path / "better_vae")
    weights = own / "diffusion_pytorch_model.safetensors"
    save_file({key: tensor + 1 for key, tensor in load_file(weights).items()}, weights)
    cfg = config_of(copied)
    cfg.GENERATION.VAE = str(own)
    read = load_base(cfg)
    for before, after in zip(base.vae.parameters(), read.vae.parameters(), strict=True):
        torch.testing.assert_close(before + 1, after)
    assert re.fullmatch(r"copied@\w{12}\+better_vae@\w{12}", read.name)
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"latent_channels": 8}))
    with pytest.raises(ValueError, match=r"a U-Net from 8 to 8 channels, those of the VAE"):
        load_base(cfg)


def test_base_of_pickles_says_how_to_convert(copied):
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(
        ValueError, match=r"got only diffusion_pytorch_model.bin, a pickle.*convert"
    ):
        find_base_folder(str(copied))
    weights.with_suffix(".bin").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"expected weights as safetensors in .*unet, got no"
    ):
        find_base_folder(str(copied))


def test_base_of_a_file_or_another_pipeline_is_refused(copied, tmp_path):
    checkpoint = tmp_path / "model.safetensors"
    checkpoint.touch()
    with pytest.raises(ValueError, match=r"in diffusers layout, got the file .*from_single_file"):
        find_base_folder(str(checkpoint))
    with pytest.raises(FileNotFoundError, match=r"got no model_index.json there"):
        find_base_folder(str(tmp_path))
    shutil.rmtree(copied / "vae")
    with pytest.raises(ValueError, match="got StableDiffusionPipeline with no vae"):
        find_base_folder(str(copied))


@pytest.mark.parametrize("name", ["vae/config.json", "tokenizer/tokenizer.json"])
def test_base_with_damaged_files_says_what_to_do(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    folder = name.split("/")[0]
    with pytest.raises(ValueError, match=rf"copied/{folder}.* bring (them|the model) again"):
        load_base(config_of(copied))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_base_with_cut_weights_is_refused(copied, part):
    weights = next((copied / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{weights} is no whole safetensors file .* again"):
        find_base_folder(str(copied))
