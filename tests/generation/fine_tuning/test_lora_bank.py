"""Adapters of several identities against peft, and their files against diffusers."""

import copy
import json

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from fastreid_ext.diffusion.adapter_files import (
    LORA,
    UNET,
    is_fine_tuned,
    read_adapter,
    read_training,
    write_adapter,
    write_training,
)
from fastreid_ext.generation.fine_tuning.lora_bank import LoraBank
from measuring.stable_diffusion import random_base

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
ALPHA = 6.0
RANK = 4


@pytest.fixture(scope="module")
def pristine(tiny_pipeline_folder):
    return UNet2DConditionModel.from_pretrained(tiny_pipeline_folder, subfolder="unet").eval()


@pytest.fixture
def unet(pristine):
    return copy.deepcopy(pristine).requires_grad_(False)


def random_bank(unet, count=3, targets=TARGETS):
    """Adapters that change something: B is not zero."""
    bank = LoraBank(unet, count=count, rank=RANK, alpha=ALPHA, target_modules=targets)
    generator = torch.Generator().manual_seed(3)
    for k in range(count):
        bank.reset(k, generator)
    with torch.no_grad():
        bank.weights += 0.2 * torch.randn(bank.weights.shape, generator=generator)
    return bank


def inputs(unet, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, unet.config.in_channels, 8, 4, generator=generator)
    steps = torch.randint(0, 1000, (rows,), generator=generator)
    texts = torch.randn(rows, 7, unet.config.cross_attention_dim, generator=generator)
    return latents, steps, texts


def predict(unet, batch):
    return unet(*batch).sample


def with_peft(pristine, state, targets=TARGETS):
    """The same U-Net with one adapter, as peft computes it."""
    unet = copy.deepcopy(pristine).requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets))
    parameters = dict(unet.named_parameters())
    with torch.no_grad():
        for key, value in state.items():
            parameters[key.replace(".weight", ".default.weight")].copy_(value)
    return unet


@pytest.mark.parametrize("rows", [[0, 0, 1, 1, 2, 2], [2, 0, 0, 1], [1, 1, 1], [0, -1, 2, -1]])
def test_each_row_equals_peft_with_its_adapter_alone(unet, pristine, rows):
    bank = random_bank(unet)
    batch = inputs(unet, len(rows))
    bank.select(torch.tensor(rows))
    predicted = predict(unet, batch)
    for i, row in enumerate(rows):
        alone = tuple(part[i : i + 1] for part in batch)
        other = pristine if row == -1 else with_peft(pristine, bank.state_of(row))
        torch.testing.assert_close(predicted[i : i + 1], predict(other, alone))
    assert (predicted[0] - predict(pristine, batch)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("targets", [TARGETS, ["to_v", "ff.net.0.proj"]])
def test_gradient_equals_that_of_peft_for_each_identity(unet, pristine, targets):
    rows = [0, 0, 1, 1, 2, 2]
    bank = random_bank(unet, targets=targets)
    batch = inputs(unet, len(rows))
    bank.select(rows)
    predict(unet, batch).pow(2).mean(dim=(1, 2, 3)).sum().backward()
    for k in range(3):
        peft = with_peft(pristine, bank.state_of(k), targets)
        alone = tuple(part[2 * k : 2 * k + 2] for part in batch)
        predict(peft, alone).pow(2).mean(dim=(1, 2, 3)).sum().backward()
        expected = {
            name.replace(".default", ""): parameter.grad
            for name, parameter in peft.named_parameters()
            if parameter.requires_grad
        }
        got = gradient_state(bank, k)
        assert got.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, atol=1e-6, rtol=1e-3, msg=name)


def gradient_state(bank, k):
    weights = bank.weights
    bank.weights = torch.nn.Parameter(weights.grad)
    state = bank.state_of(k)
    bank.weights = weights
    return state


def test_new_adapters_change_nothing_and_start_as_in_peft(unet, pristine):
    bank = LoraBank(unet, count=2, rank=RANK, alpha=ALPHA, target_modules=TARGETS)
    for k in range(2):
        bank.reset(k, torch.Generator().manual_seed(k))
    batch = inputs(unet, 2)
    bank.select([0, 1])
    assert torch.equal(predict(unet, batch), predict(pristine, batch))
    state = bank.state_of(0)
    peft = dict(with_peft(pristine, {}).named_parameters())
    for name, value in state.items():
        started = peft[name.replace(".weight", ".default.weight")]
        assert value.shape == started.shape
        if "lora_B" in name:
            assert not value.any()
            assert not started.any()
        else:
            bound = value.shape[1] ** -0.5
            assert value.abs().max() <= bound
            assert started.abs().max() <= bound
            assert value.std() == pytest.approx(started.std().item(), rel=0.3)
    assert not torch.equal(bank.weights[0], bank.weights[1])


def test_unet_is_unchanged_without_selection_and_after_removal(unet, pristine):
    bank = random_bank(unet)
    batch = inputs(unet, 2)
    expected = predict(pristine, batch)
    assert torch.equal(predict(unet, batch), expected)
    bank.select([-1, -1])
    assert torch.equal(predict(unet, batch), expected)
    bank.select([0, 1])
    bank.select_none()
    assert torch.equal(predict(unet, batch), expected)
    bank.select([0, 1])
    bank.remove()
    assert torch.equal(predict(unet, batch), expected)
    assert not any(module._forward_hooks for module in unet.modules())
    assert unet.state_dict().keys() == pristine.state_dict().keys()


def test_an_adapter_changes_only_its_own_rows(unet):
    bank = random_bank(unet)
    batch = inputs(unet, 3)
    bank.select([0, 1, 2])
    before = predict(unet, batch)
    with torch.no_grad():
        bank.weights[1] *= 2
    bank.select([0, 1, 2])
    after = predict(unet, batch)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])


def test_bfloat16_models_have_float32_adapters(unet):
    unet = unet.to(torch.bfloat16)
    bank = random_bank(unet)
    batch = [part.bfloat16() if part.is_floating_point() else part for part in inputs(unet, 3)]
    bank.select([0, 1, 2])
    predicted = predict(unet, batch)
    assert predicted.dtype == torch.bfloat16
    predicted.float().pow(2).mean().backward()
    assert bank.weights.grad.dtype == torch.float32
    assert bank.weights.grad.abs().sum(dim=1).min() > 0


def written(bank, k, folder):
    folder.mkdir()
    write_adapter(folder, bank.state_of(k), rank=RANK, alpha=ALPHA, targets=bank.target_modules)
    return folder


def test_diffusers_opens_the_file_and_predicts_the_same(
    unet, pristine, tiny_pipeline_folder, tmp_path
):
    bank = random_bank(unet)
    folder = written(bank, 2, tmp_path / "Market1501_0002")
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder, safety_checker=None)
    pipeline.load_lora_weights(folder)
    batch = inputs(unet, 2)
    bank.select([2, 2])
    torch.testing.assert_close(predict(pipeline.unet, batch), predict(unet, batch))
    assert (predict(unet, batch) - predict(pristine, batch)).abs().max() > 1e-3


def test_adapter_loads_into_any_place_and_from_older_names(unet, tmp_path):
    bank = random_bank(unet)
    folder = written(bank, 2, tmp_path / "a")
    bank.load(0, folder)
    assert torch.equal(bank.weights[0], bank.weights[2])
    names = {"lora_A": "lora.down", "lora_B": "lora.up"}
    state = load_file(folder / LORA)
    for new, old in names.items():
        state = {key.replace(new, old): value for key, value in state.items()}
    save_file(state, folder / LORA)
    bank.load(1, folder)
    assert torch.equal(bank.weights[1], bank.weights[2])


def test_load_refuses_other_rank_layers_or_alpha(unet, pristine, tmp_path):
    bank = random_bank(unet)
    folder = written(bank, 0, tmp_path / "a")
    other = copy.deepcopy(pristine)
    shapes = LoraBank(other, count=1, rank=2, alpha=ALPHA, target_modules=TARGETS)
    with pytest.raises(ValueError, match=r"expected an adapter of rank 2 on to_q, .*RANK and TARG"):
        shapes.load(0, folder)
    layers = LoraBank(other, count=1, rank=RANK, alpha=ALPHA, target_modules=["to_q"])
    with pytest.raises(ValueError, match=r"instead of nothing; set"):
        layers.load(0, folder)
    scale = LoraBank(other, count=1, rank=RANK, alpha=1, target_modules=TARGETS)
    with pytest.raises(ValueError, match=r"expected an adapter with alpha 1 in .*, got 6"):
        scale.load(0, folder)


def test_read_adapter_refuses_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected an adapter at .*got none; make it with"):
        read_adapter(tmp_path)
    (tmp_path / LORA).write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"no whole safetensors file .*; remove its folder"):
        read_adapter(tmp_path)
    save_file({"text_encoder.a.lora_A.weight": torch.zeros(1)}, tmp_path / LORA)
    with pytest.raises(ValueError, match=r"expected only adapters of the U-Net .*got 'text_enc"):
        read_adapter(tmp_path)


@pytest.mark.parametrize("weights", [LORA, f"{UNET}/config.json"])
def test_training_facts_are_the_last_file(tmp_path, weights):
    (tmp_path / weights).parent.mkdir(exist_ok=True)
    (tmp_path / weights).touch()
    assert not is_fine_tuned(tmp_path)
    write_training(tmp_path, {"steps": 3, "losses": [0.5]})
    assert is_fine_tuned(tmp_path)
    assert read_training(tmp_path) == {"steps": 3, "losses": [0.5]}
    assert json.loads((tmp_path / "training.json").read_text())
    (tmp_path / weights).unlink()
    if weights != LORA:
        (tmp_path / UNET).rmdir()
    assert not is_fine_tuned(tmp_path)  # no weights to sample with


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["to_w"], r"unknown name 'to_w' in GENERATION.*; did you mean 'to_"),
        (
            ["zzzzzz"],
            r"unknown name 'zzzzzz' in GENERATION.FINE_TUNING.TARGET_MODULES; .*unet.named_modules",
        ),
        (["conv1"], r"expected linear layers in .*, got 'conv1', which names a Conv2d"),
    ],
)
def test_bank_refuses_unknown_layers(unet, targets, message):
    with pytest.raises(ValueError, match=message):
        LoraBank(unet, count=1, rank=RANK, alpha=1, target_modules=targets)


def test_bank_refuses_wrong_rows(unet):
    with pytest.raises(ValueError, match=r"at least one adapter of rank 1, got 1 of rank 0"):
        LoraBank(unet, count=1, rank=0, alpha=1, target_modules=TARGETS)
    bank = random_bank(unet)
    with pytest.raises(ValueError, match=r"an adapter in 0..2 or -1 for none, got \[3\]"):
        bank.select([0, 3])
    bank.select([0, 1])
    with pytest.raises(ValueError, match=r"expected a batch of the 2 rows .* got 3; call select"):
        predict(unet, inputs(unet, 3))


def test_rows_computed_singly_equal_rows_in_groups(unet):
    bank = random_bank(unet)
    batch = inputs(unet, 4)
    with torch.no_grad():
        bank.select([0, 0, 2, 2])
        grouped = predict(unet, batch)
        bank.select([0, 0, 2, 2], by_row=True)
        torch.testing.assert_close(predict(unet, batch), grouped, atol=1e-5, rtol=1e-5)
        rows = predict(unet, batch)
        bank.select([0, 1, -1, 2], by_row=True)  # other neighbours: equal to the last bit
        others = predict(unet, batch)
    assert torch.equal(rows[0], others[0])
    assert torch.equal(rows[3], others[3])


def test_a_row_of_one_token_equals_that_row_alone():
    """A product with one vector has another order of sums than one with several."""
    layers = torch.nn.ModuleDict({"to_q": torch.nn.Linear(320, 320)})
    bank = random_bank(layers, targets=["to_q"])
    torch.nn.init.zeros_(layers["to_q"].weight)  # for the bank does not compute this product
    x = torch.randn(4, 1, 320, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bank.select([0, 0, 2, 2], by_row=True)
        together = layers["to_q"](x)
        for k, adapter in enumerate((0, 0, 2, 2)):
            bank.select([adapter], by_row=True)
            assert torch.equal(layers["to_q"](x[[k]])[0], together[k])


@pytest.mark.parametrize(
    ("rank", "targets", "size"),
    [
        (4, TARGETS, 797_184),  # of diffusers' example for SD v1
        (8, [*TARGETS, "ff.net.0.proj"], 2_492_928),  # of DCAC's, 89.01 M with all else it trains
    ],
)
def test_adapters_of_stable_diffusion_1_have_the_known_sizes(rank, targets, size):
    unet = random_base("sd1", torch.device("meta"), torch.float32).unet
    bank = LoraBank(unet, count=1, rank=rank, alpha=rank, target_modules=targets)
    assert bank.size == size
