"""Mistakes in the keys of MODEL.DIFFUSION and of the prototypes are named with their remedies."""

import re
import subprocess
import sys

import pytest

from fastreid_ext.checks import diffusion_branch as checks
from fastreid_ext.modeling.diffusion_branch.bottlenecks import BOTTLENECKS
from fastreid_ext.modeling.diffusion_branch.branch import TARGETS
from fastreid_ext.modeling.diffusion_branch.parts import build_condition
from fastreid_ext.modeling.diffusion_branch.trained_parts import MODES

from ..tiny_cfg import dotted, read_keys, tiny_cfg

BRANCH = {
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.META_ARCHITECTURE": "PrototypeBaseline",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "PrototypeContrastLoss"),
    "MODEL.DIFFUSION.ENABLED": True,
    "INPUT.CLEAN_VIEW.SIZE": [128, 128],
    "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
}
MIX = {"MODEL__META_ARCHITECTURE": "Baseline", "MODEL__LOSSES__NAME": ("CrossEntropyLoss",)}


def load(**changes):
    return tiny_cfg(read_keys(BRANCH, dotted(changes)))


def test_names_of_the_checks_are_those_of_the_modeling_package():
    """The checks must not need diffusers, so they have names of their own."""
    assert checks.UNETS == MODES
    assert tuple(BOTTLENECKS) == checks.BOTTLENECKS
    assert checks.TARGETS == TARGETS
    kinds = {
        type(
            build_condition(load(MODEL__DIFFUSION__CONDITION=name, MODEL__HEADS__NUM_CLASSES=3), 4)
        )
        for name in checks.CONDITIONS
    }
    assert len(kinds) == len(checks.CONDITIONS) == 3


@pytest.mark.slow
def test_checks_and_a_baseline_need_no_diffusers():
    script = """
import sys
sys.modules["diffusers"] = None  # as where it is not installed
from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer
keys = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_osnet_backbone",
        "MODEL.BACKBONE.DEPTH", "x0_25", "MODEL.BACKBONE.FEAT_DIM", "128",
        "MODEL.HEADS.NUM_CLASSES", "3", "MODEL.LOSSES.NAME", "('CrossEntropyLoss',)"]
Trainer.build_model(load_config("", keys))
branch = load_config("", [*keys, "MODEL.DIFFUSION.ENABLED", "True",
                          "INPUT.CLEAN_VIEW.SIZE", "[32, 16]"])
try:
    Trainer.build_model(branch)
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    expected = (
        "MODEL.DIFFUSION needs diffusers and peft; install them with `pip install fastreid_ext["
    )
    assert expected in done.stdout


def test_defaults_are_those_of_dcac():
    keys = load().MODEL.DIFFUSION
    assert (keys.UNET, keys.RANK, keys.CONDITION, keys.TEMPERATURE) == ("lora", 8, "correlation", 1)
    assert (keys.SCALE, keys.BOTTLENECK, keys.TARGET) == (1.0, "identity", "noise")
    prototype = load().MODEL.LOSSES.PROTOTYPE
    assert (prototype.SCALE, prototype.TEMPERATURE, prototype.MOMENTUM) == (1.0, 0.01, 0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL__DIFFUSION__RANK": 0}, "MODEL.DIFFUSION.RANK of at least 1, got 0"),
        ({"MODEL__DIFFUSION__RANK": -3}, "MODEL.DIFFUSION.RANK of at least 1, got -3"),
        ({"MODEL__DIFFUSION__UNET": "lorra"}, "did you mean 'lora'?"),
        ({"MODEL__DIFFUSION__UNET": "partial-1"}, "did you mean 'partial1'?"),
        ({"MODEL__DIFFUSION__CONDITION": "corelation"}, "did you mean 'correlation'?"),
        ({"MODEL__DIFFUSION__BOTTLENECK": "conditionnet"}, "did you mean 'condition_net'?"),
        ({"MODEL__DIFFUSION__TARGET": "latents"}, "did you mean 'latent'?"),
        ({"MODEL__DIFFUSION__DTYPE": "bfloat"}, "did you mean 'bfloat16'?"),
        ({"MODEL__DIFFUSION__TEMPERATURE": 0.0}, "0.6 is DCAC's for Market-1501"),
        ({"MODEL__DIFFUSION__SCALE": -1.0}, "MODEL.DIFFUSION.SCALE of at least 0, got -1.0"),
        (
            {"MODEL__DIFFUSION__UNET": "full", "MODEL__DIFFUSION__RANK": 4},
            "MODEL.DIFFUSION.RANK is 4 (default 8) but is not read in this configuration",
        ),
        (
            {"MODEL__DIFFUSION__CONDITION": "class", "MODEL__DIFFUSION__TEMPERATURE": 0.6},
            "MODEL.DIFFUSION.TEMPERATURE is 0.6 (default 1.0) but is not read",
        ),
        (
            {"MODEL__DIFFUSION__RANDOM_WEIGHTS": True, "MODEL__DIFFUSION__REVISION": "main"},
            "MODEL.DIFFUSION.REVISION is main (default '') but is not read",
        ),
        (
            {"MODEL__DIFFUSION__ENABLED": False, "MODEL__DIFFUSION__SCALE": 0.5},
            "MODEL.DIFFUSION.SCALE is 0.5 (default 1.0) but is not read",
        ),
        ({"INPUT__CLEAN_VIEW__SIZE": []}, "INPUT.CLEAN_VIEW.SIZE is empty; set it to [128, 128]"),
        ({"INPUT__CLEAN_VIEW__SIZE": [128, 100]}, "multiples of 8 under MODEL.DIFFUSION"),
        ({"INPUT__VIEWS__RECIPE": "independent"}, "which fits neither INPUT.VIEWS nor INPUT.MIXUP"),
        ({"INPUT__MIXUP__ENABLED": True, **MIX}, "nor INPUT.CUTMIX; turn these off"),
        ({"INPUT__CUTMIX__ENABLED": True, **MIX}, "nor INPUT.CUTMIX; turn these off"),
        ({"SOLVER__EMA__DECAY": 0.9}, "a second copy of the whole diffusion model under"),
        (
            {"TEST__PRECISE_BN__ENABLED": True},
            "which would pass the diffusion branch without a step",
        ),
        ({"TEST__PRECISE_BN__ENABLED": True}, "which would move the prototypes without a step"),
        (
            {
                "MODEL__META_ARCHITECTURE": "MGN",
                "MODEL__LOSSES__NAME": ("CrossEntropyLoss",),
                "MODEL__DIFFUSION__CONDITION": "instance",
            },
            "instance needs one feature of an image, MGN has several; take correlation, or one of",
        ),
        (
            {
                "MODEL__META_ARCHITECTURE": "BDB",
                "MODEL__HEADS__NAME": "BDBHead",
                "MODEL__LOSSES__NAME": ("CrossEntropyLoss",),
                "MODEL__DIFFUSION__CONDITION": "instance",
            },
            "instance needs one feature of an image, BDB has several; take correlation, or one of",
        ),
        (
            {
                "MODEL__META_ARCHITECTURE": "SimCLRPretrain",
                "MODEL__HEADS__NAME": "ProjectionHead",
                "MODEL__LOSSES__NAME": ("NTXentLoss",),
            },
            "needs logits of training identities, which SimCLRPretrain does not have; set",
        ),
        (
            {"MODEL__LOSSES__NAME": ("CrossEntropyLoss",)},
            "PrototypeBaseline without PrototypeContrastLoss in MODEL.LOSSES.NAME is Baseline; add",
        ),
        (
            {"MODEL__META_ARCHITECTURE": "Baseline"},
            "unknown name 'PrototypeContrastLoss' in MODEL.LOSSES.NAME",
        ),
        ({"MODEL__HEADS__NECK_FEAT": "before"}, "NECK_FEAT after under PrototypeBaseline, whose"),
        ({"MODEL__LOSSES__PROTOTYPE__TEMPERATURE": 0.0}, "0.01 is DCAC's"),
        ({"MODEL__LOSSES__PROTOTYPE__MOMENTUM": 1.5}, "PROTOTYPE.MOMENTUM in [0, 1], got 1.5"),
    ],
)
def test_mistakes_are_named_with_what_to_do(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(**changes)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("UNET", checks.UNETS),
        ("CONDITION", checks.CONDITIONS),
        ("BOTTLENECK", checks.BOTTLENECKS),
        ("TARGET", checks.TARGETS),
        ("DTYPE", ("float32", "bfloat16", "float16")),
    ],
)
def test_every_name_is_accepted(key, names):
    for name in names:
        assert load(**{f"MODEL__DIFFUSION__{key}": name}).MODEL.DIFFUSION[key] == name
