"""Casts that adapters leave out: results and gradients stay, to the last bit."""

import copy

import torch
from peft.tuners.lora import LoraLayer

from fastreid_ext.diffusion.tiny.models import build_unet, seeded
from fastreid_ext.diffusion.tiny.sizes import TEST
from fastreid_ext.modeling.diffusion_branch.trained_parts import train_parts


def run(unet, dtype):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 8, 4, generator=generator).to(dtype)
    context = torch.randn(2, 1, TEST.text_width, generator=generator).to(dtype)
    context.requires_grad_()
    with torch.autocast("cpu", enabled=dtype == torch.bfloat16):
        output = unet(latents, torch.tensor([3, 500]), context, return_dict=False)[0]
    output.float().square().sum().backward()
    gradients = {name: p.grad for name, p in unet.named_parameters() if p.requires_grad}
    return output.detach(), context.grad, gradients


def test_adapters_cast_nothing_that_autocast_casts_back():
    with seeded(0):
        unet = build_unet(TEST).to(torch.bfloat16)
        train_parts(unet, "lora", rank=2)
    layers = [module for module in unet.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B["default"].weight)
    casting = copy.deepcopy(unet)
    for layer in casting.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = True
    inputs = []
    for layer in layers:
        layer.lora_A["default"].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    found = run(unet, torch.bfloat16)
    torch.testing.assert_close(found, run(casting, torch.bfloat16), rtol=0, atol=0)
    wide = [tensor for tensor in inputs if tensor.dtype == torch.float32]
    assert len(wide) < len(inputs) / 2  # norms give float32 under autocast on some devices
