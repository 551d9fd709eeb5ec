"""Weight decay and gradient clipping, against timm's and torch's own functions."""

import copy
from pathlib import Path

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from torch import nn

from ..tiny_cfg import tiny_cfg

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"


def config(file="Base-bagtricks.yml", **changes):
    keys = {
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.BACKBONE.FEAT_DIM": 0,
        "MODEL.HEADS.NUM_CLASSES": 6,
        "INPUT.SIZE_TRAIN": [64, 32],
        "INPUT.SIZE_TEST": [64, 32],
    }
    return tiny_cfg(keys, file=CONFIGS / file, **changes)


# --- decay


def decays(model, optimizer):
    """Return the decay of each trained parameter by name, found by where its values lie."""
    found = {}
    for name, parameter in model.named_parameters():
        for group in optimizer.param_groups:
            (flat,) = group["params"]
            inside = flat.data_ptr() <= parameter.data_ptr() < flat.data_ptr() + 4 * flat.numel()
            if inside and parameter.requires_grad:
                found[name] = group["weight_decay"]
    return found


SWIN = {"MODEL__BACKBONE__NAME": "build_swin_backbone", "MODEL__BACKBONE__DEPTH": "tiny"}
VIT = {"MODEL__BACKBONE__NAME": "build_plain_vit_backbone", "MODEL__BACKBONE__DEPTH": "tiny"}
TIMM = {"MODEL__BACKBONE__NAME": "build_timm_backbone"}
EXEMPT = ("relative_position_bias_table", "pos_embed", "cls_token")


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (12, SWIN),  # a table in each of 2 + 2 + 6 + 2 blocks
        (2, VIT),
        (2, {**TIMM, "MODEL__BACKBONE__TIMM_NAME": "vit_tiny_patch16_224"}),
        (12, {**TIMM, "MODEL__BACKBONE__TIMM_NAME": "swin_tiny_patch4_window7_224"}),
        (
            10 + 3 * 2,
            {**SWIN, "MODEL__META_ARCHITECTURE": "MGN", "INPUT__SIZE_TRAIN": [96, 32]},
        ),  # three copies of the last stage
        (2, {**VIT, "MODEL__META_ARCHITECTURE": "MGN", "INPUT__SIZE_TRAIN": [96, 32]}),
    ],
    ids=["Swin", "ViT", "timm's ViT", "timm's Swin", "Swin under MGN", "ViT under MGN"],
)
def test_position_parameters_and_class_tokens_are_not_decayed(count, changes):
    changes = {"INPUT__SIZE_TEST": changes.get("INPUT__SIZE_TRAIN", [64, 32]), **changes}
    cfg = config(**changes)
    model = build_model(cfg)
    found = decays(model, build_optimizer(cfg, model)[0])
    exempt = {name for name, decay in found.items() if decay == 0}
    assert len(exempt) == count
    assert exempt == {name for name in found if name.endswith(EXEMPT)}
    assert set(found.values()) == {0.0, 0.0005}


def test_a_network_that_exempts_nothing_is_decayed_as_before():
    cfg = config(MODEL__BACKBONE__DEPTH="18x")
    model = build_model(cfg)
    assert set(decays(model, build_optimizer(cfg, model)[0]).values()) == {0.0005}


@pytest.mark.parametrize(
    ("file", "of_weights", "of_the_rest"),
    [
        ("../projects/DAPG/configs/Base-DAPG-stage1.yml", 1e-4, 1e-4),  # as MoCo
        ("../projects/SimCLR/configs/Base-SimCLR.yml", 1e-4, 0.0),  # as SimCLR
        (
            "../projects/DiffusionReID/configs/Base-classification-pretrain.yml",
            0.05,
            0.0,
        ),  # as ConvNeXt
        ("Base-bagtricks.yml", 5e-4, 5e-4),  # as fastreid
    ],
)
def test_recipes_decay_norms_and_biases_as_their_authors(file, of_weights, of_the_rest):
    cfg = config(file, MODEL__BACKBONE__DEPTH="18x")
    model = build_model(cfg)
    found = decays(model, build_optimizer(cfg, model)[0])
    vectors = {decay for name, decay in found.items() if model.get_parameter(name).ndim == 1}
    weights = {decay for name, decay in found.items() if model.get_parameter(name).ndim > 1}
    assert (vectors, weights) == ({of_the_rest}, {of_weights})


# --- clipping


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def loss_of(model):
    return 50 * model(torch.arange(18.0).reshape(6, 3).sin()).square().sum()


@pytest.mark.parametrize("norm_type", [2.0, 1.0])
def test_the_norm_of_all_gradients_is_clipped_as_by_torch(norm_type):
    """fastreid clips weights and biases apart: they have two learning rates, so two buffers."""
    clip = {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": 0.5, "NORM_TYPE": norm_type}
    keys = {f"SOLVER__CLIP_GRADIENTS__{name}": value for name, value in clip.items()}
    model = small_model()
    twin = copy.deepcopy(model)
    loss_of(twin).backward()
    norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5, norm_type)
    assert norm > 5
    cfg = config(SOLVER__BIAS_LR_FACTOR=2.0, SOLVER__BASE_LR=1.0, SOLVER__OPT="SGD", **keys)
    optimizer, _ = build_optimizer(cfg, model)
    assert len(optimizer.param_groups) == 2  # weights and biases
    loss_of(model).backward()
    optimizer.step()
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-5, atol=1e-8)


def test_clipping_by_value_works_while_layers_are_frozen():
    """fastreid hands torch a group without gradients, at which it fails."""
    model = small_model()
    cfg = config(
        SOLVER__CLIP_GRADIENTS__ENABLED=True,
        SOLVER__CLIP_GRADIENTS__CLIP_TYPE="value",
        SOLVER__CLIP_GRADIENTS__CLIP_VALUE=0.01,
        MODEL__FREEZE_LAYERS=["backbone"],
        SOLVER__FREEZE_ITERS=1,
        SOLVER__OPT="SGD",
    ).clone()
    cfg.defrost()
    cfg.MODEL.FREEZE_LAYERS = ["0"]  # of the small model
    optimizer, _ = build_optimizer(cfg, model)
    frozen = model[0].weight.detach().clone()
    free = model[2].weight.detach().clone()
    for step in range(2):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
        assert torch.equal(model[0].weight, frozen) == (step == 0)
    assert not torch.equal(model[2].weight, free)
    assert model[0].weight.grad.abs().max() <= 0.01
