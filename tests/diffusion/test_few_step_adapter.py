import re
import shutil

import diffusers
import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict

from fastreid_ext.diffusion.few_step_adapter import with_few_step_adapter
from fastreid_ext.diffusion.stable_diffusion import read_base

# Linear layers and convolutions, as LCM-LoRA has.
MODULES = ["to_q", "to_out.0", "conv1", "time_emb_proj"]


@pytest.fixture(scope="module")
def base(tiny_pipeline_folder):
    return read_base(
        tiny_pipeline_folder, name="tiny@0", device=torch.device("cpu"), dtype=torch.float32
    )


def prediction(unet):
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(2, 4, 8, 4, generator=generator)
    words = torch.randn(2, 77, 32, generator=generator)
    with torch.no_grad():
        return unet(latents, 500, encoder_hidden_states=words).sample


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """A folder with a LoRA of random weights, and what the adapted U-Net predicts."""
    unet = diffusers.UNet2DConditionModel.from_config(base.unet.config)
    unet.load_state_dict(base.unet.state_dict())
    unet.add_adapter(LoraConfig(r=3, lora_alpha=6, target_modules=MODULES))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in unet.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path_factory.mktemp("few") / "lcm"
    layers = diffusers.utils.convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    metadata = {"unet": unet.peft_config["default"].to_dict()}
    for key, value in metadata["unet"].items():
        metadata["unet"][key] = sorted(value) if isinstance(value, set) else value
    diffusers.StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata["unet"]
    )
    return folder, prediction(unet)


def test_few_step_adapter_equals_that_of_diffusers(base, adapter):
    folder, expected = adapter
    before = prediction(base.unet)
    few = with_few_step_adapter(base, str(folder))
    assert (expected - before).abs().max() > 0.1
    torch.testing.assert_close(prediction(few.unet), expected, atol=1e-4, rtol=1e-4)
    assert re.fullmatch(r"tiny@0\+lcm@[0-9a-f]{12}", few.name)


def test_few_step_adapter_leaves_the_base_unchanged(base, adapter):
    before = {name: value.clone() for name, value in base.unet.state_dict().items()}
    few = with_few_step_adapter(base, str(adapter[0]))
    after = base.unet.state_dict()
    assert after.keys() == before.keys() == few.unet.state_dict().keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert few.vae is base.vae


def test_few_step_adapter_missing_is_named(base, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'nobody/lcm' .* is neither a folder here nor in"):
        with_few_step_adapter(base, "nobody/lcm")
    with pytest.raises(FileNotFoundError, match=r"one file of another name.* got no safetensors"):
        with_few_step_adapter(base, str(tmp_path))


def test_few_step_adapter_of_several_files_is_refused(base, adapter, tmp_path):
    for name in ("a", "b"):
        shutil.copy(
            adapter[0] / "pytorch_lora_weights.safetensors", tmp_path / f"{name}.safetensors"
        )
    with pytest.raises(FileNotFoundError, match=r"got \['a.safetensors', 'b.safetensors'\]"):
        with_few_step_adapter(base, str(tmp_path))
    (tmp_path / "b.safetensors").unlink()
    assert with_few_step_adapter(base, str(tmp_path))


def test_few_step_adapter_with_text_encoder_is_refused(base, adapter, tmp_path):
    weights, _ = diffusers.StableDiffusionPipeline.lora_state_dict(adapter[0])
    layers = {"q_proj.lora_A.weight": torch.ones(2, 2), "q_proj.lora_B.weight": torch.ones(2, 2)}
    unet = {key.removeprefix("unet."): value for key, value in weights.items()}
    diffusers.StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=unet, text_encoder_lora_layers=layers
    )
    with pytest.raises(ValueError, match=r"LoRA of the U-Net alone .* weights of text_encoder too"):
        with_few_step_adapter(base, str(tmp_path))


def test_few_step_adapter_of_another_model_is_refused(base, tmp_path):
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    layers = {
        f"{layer}.lora_A.weight": torch.ones(2, 320),
        f"{layer}.lora_B.weight": torch.ones(320, 2),
    }
    diffusers.StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers)
    with pytest.raises(ValueError, match="does not fit the U-Net of tiny@0"):
        with_few_step_adapter(base, str(tmp_path))
