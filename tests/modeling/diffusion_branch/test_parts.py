"""Branches built from configurations: parameters of the paper, weights, and unfit models."""

import functools
import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from fastreid_ext.engine import Trainer
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.modeling.diffusion_branch.bottlenecks import BOTTLENECKS
from fastreid_ext.modeling.diffusion_branch.branch import TARGETS
from fastreid_ext.modeling.diffusion_branch.parts import (
    build_branch,
    load_autoencoder,
    noise_schedule,
)
from fastreid_ext.modeling.diffusion_branch.trained_parts import MODES

from ...tiny_cfg import dotted, read_keys, tiny_cfg
from ..recipes import REPOSITORY

RECIPE = REPOSITORY / "configs/Market1501/bagtricks_clip-vit-b16.yml"
DCAC = {
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.DEVICE": "meta",
    "MODEL.HEADS.NUM_CLASSES": 751,
    "MODEL.META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL.HEADS.NAME": "EmbeddingHead",
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "SOLVER.AMP.ENABLED": False,
}
# Keys of a branch without data, of the architecture of Stable Diffusion 1.5.
BRANCH = {
    "MODEL.DIFFUSION.ENABLED": True,
    "MODEL.DIFFUSION.RANDOM_WEIGHTS": True,
    "MODEL.DIFFUSION.LATENT_CACHE": "latents",
    "INPUT.CLEAN_VIEW.SIZE": [128, 128],
}
# Trained parameters in DCAC's comparison of strategies on Market-1501, in millions.
PAPER = {
    "": 85.94,
    "frozen": 86.51,
    "lora": 89.01,
    "partial1": 599.37,
    "partial2": 696.41,
    "full": 946.03,
    "scratch": 946.03,
}


@pytest.fixture
def config(tiny_pipeline_folder):
    """Return a function that makes configurations of a branch with the tiny pipeline."""

    def make(**changes):
        keys = {
            "MODEL.HEADS.NUM_CLASSES": 5,
            "MODEL.HEADS.WITH_BNNECK": True,
            "MODEL.DIFFUSION.ENABLED": True,
            "MODEL.DIFFUSION.BASE_MODEL": str(tiny_pipeline_folder),
            "INPUT.CLEAN_VIEW.SIZE": [32, 16],
        }
        return tiny_cfg(read_keys(keys, dotted(changes)))

    return make


@pytest.fixture
def copied(tiny_pipeline_folder, tmp_path):
    return shutil.copytree(tiny_pipeline_folder, tmp_path / "copied")


def configure(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_every_mode_of_the_paper_is_counted():
    assert set(PAPER) == {"", *MODES}


@pytest.mark.slow
@pytest.mark.parametrize("mode", PAPER)
def test_model_trains_as_many_parameters_as_the_paper(mode):
    keys = DCAC | (BRANCH | {"MODEL.DIFFUSION.UNET": mode} if mode else {})
    cfg = tiny_cfg(keys, file=RECIPE)
    with torch.device("meta"):
        model = Trainer.build_model(cfg)
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert sum(trained.values()) / 1e6 == pytest.approx(PAPER[mode], abs=0.005)
    adapters = sum(count for name, count in trained.items() if "lora" in name)
    assert adapters == (2_492_928 if mode == "lora" else 0)


@pytest.mark.parametrize("mode", ["lora", "scratch"])
def test_branch_begins_with_the_weights_of_the_folder(config, tiny_pipeline_folder, mode):
    branch = build_branch(config(MODEL__DIFFUSION__UNET=mode))
    file = UNet2DConditionModel.from_pretrained(tiny_pipeline_folder / "unet").state_dict()
    own = {
        name.replace("base_layer.", ""): value
        for name, value in branch.unet.state_dict().items()
        if "lora" not in name
    }
    assert own.keys() == file.keys()
    equal = [name for name, value in own.items() if torch.equal(value, file[name])]
    if mode == "scratch":  # all but biases and norms, which start at zero or one
        assert not [name for name in equal if file[name].ndim > 1]
    else:
        assert len(equal) == len(own)


def test_branch_takes_schedule_and_autoencoder_of_the_folder(config, tiny_pipeline_folder):
    branch = build_branch(config(MODEL__DIFFUSION__UNET="frozen"))
    scheduler = DDPMScheduler.from_pretrained(tiny_pipeline_folder / "scheduler")
    torch.testing.assert_close(branch.signal, scheduler.alphas_cumprod)
    file = AutoencoderKL.from_pretrained(tiny_pipeline_folder / "vae").state_dict()
    own = branch.autoencoder.state_dict()
    assert all(torch.equal(own[name], value) for name, value in file.items())
    assert not any(p.requires_grad for p in branch.autoencoder.parameters())
    assert branch.autoencoder.left_out_of_checkpoints


def test_frozen_weights_are_of_the_dtype_and_the_autoencoder_is_float32(config):
    keys = {"MODEL__DIFFUSION__RANDOM_WEIGHTS": True, "MODEL__DIFFUSION__UNET": "partial1"}
    branch = build_branch(config(**keys, MODEL__DIFFUSION__DTYPE="bfloat16"))
    frozen = [p for p in branch.unet.parameters() if not p.requires_grad]
    assert {p.dtype for p in frozen} == {torch.bfloat16}
    trained = [p for p in branch.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    assert {p.dtype for p in branch.autoencoder.parameters()} == {torch.float32}


def test_channels_last_changes_the_layout_of_kernels_alone(config):
    torch.manual_seed(0)
    keys = {"MODEL__DIFFUSION__RANDOM_WEIGHTS": True, "MODEL__DIFFUSION__UNET": "frozen"}
    plain = build_branch(config(**keys))
    torch.manual_seed(0)
    branch = build_branch(config(**keys, MODEL__DIFFUSION__CHANNELS_LAST=True))
    kernel = branch.unet.conv_in.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not plain.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    given = (torch.rand(2, 5), torch.rand(2, 6), torch.zeros(2), torch.rand(2, 2, 4, 8, 4))
    torch.manual_seed(1)
    expected = plain(*given)
    torch.manual_seed(1)
    torch.testing.assert_close(branch(*given), expected)


def test_channels_last_leaves_trained_kernels_to_the_flat_buffers(config):
    """fastreid's optimizer copies them, and can do so for contiguous ones alone."""
    keys = {"MODEL__DIFFUSION__RANDOM_WEIGHTS": True, "MODEL__DIFFUSION__UNET": "partial1"}
    cfg = config(**keys, MODEL__DIFFUSION__CHANNELS_LAST=True)
    unet = build_branch(cfg).unet
    kernels = [p for p in unet.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert {p.requires_grad for p in kernels} == {True, False}
    for kernel in kernels:
        assert kernel.is_contiguous() == kernel.requires_grad
    build_optimizer(cfg, unet)


def test_random_autoencoder_is_equal_at_every_start_and_takes_no_random_numbers(config):
    """Latents in a cache must fit the autoencoder of a later start."""
    cfg = config(MODEL__DIFFUSION__RANDOM_WEIGHTS=True)
    torch.manual_seed(5)
    one = load_autoencoder(cfg).state_dict()
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    other = load_autoencoder(cfg).state_dict()
    assert all(torch.equal(one[name], value) for name, value in other.items())


@pytest.mark.slow
def test_random_weights_have_the_architecture_of_the_folder_or_of_stable_diffusion(config):
    tiny = build_branch(config(MODEL__DIFFUSION__RANDOM_WEIGHTS=True))
    assert tiny.unet.config.cross_attention_dim == 32
    with torch.device("meta"):
        large = build_branch(tiny_cfg(DCAC, BRANCH, file=RECIPE))
    assert large.unet.config.cross_attention_dim == 768
    assert large.condition.prompts.shape == (751, 768)


def test_layers_and_targets_come_from_their_keys(config):
    keys = {"MODEL__DIFFUSION__RANDOM_WEIGHTS": True, "MODEL__DIFFUSION__UNET": "frozen"}
    config = functools.partial(config, **keys)
    for kind, build in BOTTLENECKS.items():
        branch = build_branch(config(MODEL__DIFFUSION__BOTTLENECK=kind))
        assert str(branch.bottleneck) == str(build(32))
    for target in TARGETS:
        assert build_branch(config(MODEL__DIFFUSION__TARGET=target)).target == target
    assert build_branch(config(MODEL__DIFFUSION__TEMPERATURE=0.3)).condition.temperature == 0.3
    assert build_branch(config(MODEL__DIFFUSION__LATENT_CACHE="latents")).autoencoder is None
    instance = build_branch(config(MODEL__DIFFUSION__CONDITION="instance")).condition
    assert instance.prompts.shape == (2048, 32)  # BACKBONE.FEAT_DIM


@pytest.mark.slow
def test_compiled_unet_keeps_names_and_results(config):
    torch.manual_seed(0)
    plain = build_branch(config())
    torch.manual_seed(0)
    compiled = build_branch(config(MODEL__DIFFUSION__COMPILE="eager"))
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    given = (torch.rand(2, 5), torch.rand(2, 6), torch.zeros(2), torch.rand(2, 2, 4, 8, 4))
    for branch in (plain, compiled):
        torch.manual_seed(1)
        branch(*given).backward()
    for name, parameter in plain.named_parameters():
        other = compiled.get_parameter(name)
        assert (parameter.grad is None) == (other.grad is None)
        if parameter.grad is not None:
            torch.testing.assert_close(other.grad, parameter.grad)


@pytest.mark.parametrize("what", ["v_prediction", "sample"])
def test_model_that_predicts_something_else_than_noise_is_refused(config, copied, what):
    configure(copied / "scheduler/scheduler_config.json", prediction_type=what)
    expected = rf"predicts noise \(epsilon\) as MODEL\.DIFFUSION\.BASE_MODEL, got .* {what}; Stab"
    with pytest.raises(ValueError, match=expected):
        noise_schedule(config(MODEL__DIFFUSION__BASE_MODEL=str(copied)))


def test_folder_that_is_no_pipeline_is_refused(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"layout in .*, got no model_index\.json there"):
        build_branch(config(MODEL__DIFFUSION__BASE_MODEL=str(tmp_path)))


def test_file_and_unknown_model_are_refused_by_the_name_of_the_key(config, tmp_path):
    file = tmp_path / "v1-5-pruned.ckpt"
    file.touch()
    with pytest.raises(ValueError, match=r"expected MODEL\.DIFFUSION\.BASE_MODEL to be a folder"):
        build_branch(config(MODEL__DIFFUSION__BASE_MODEL=str(file)))
    with pytest.raises(FileNotFoundError, match=r"MODEL\.DIFFUSION\.BASE_MODEL"):
        build_branch(config(MODEL__DIFFUSION__BASE_MODEL="owner/no-such-model"))


def test_missing_text_tensor_is_refused_by_the_name_of_the_key(config, copied):
    (file,) = (copied / "text_encoder").glob("*.safetensors")
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if "layers.0" in name))
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"\(MODEL\.DIFFUSION\.BASE_MODEL\), got a file without 1"):
        build_branch(config(MODEL__DIFFUSION__BASE_MODEL=str(copied)))


def test_unet_that_needs_more_than_text_is_refused(config, copied):
    sizes = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16}
    configure(copied / "unet/config.json", addition_embed_type="text_time", **sizes)
    with pytest.raises(ValueError, match="addition_embed_type text_time"):
        build_branch(config(MODEL__DIFFUSION__BASE_MODEL=str(copied)))


def test_damaged_weights_are_refused(config, copied):
    path = copied / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"unet/diffusion_pytorch_model\.safetensors"):
        build_branch(config(MODEL__DIFFUSION__BASE_MODEL=str(copied)))
