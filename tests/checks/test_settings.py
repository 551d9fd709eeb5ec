"""Every key of a section reaches the object made of it: all are set to other values at once."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fastreid.config import CfgNode, get_cfg
from torch import nn

from fastreid_ext.checks.conditions import value_of
from fastreid_ext.config.load import flat
from fastreid_ext.data.sources import open_dataset
from fastreid_ext.data.transforms import from_config
from fastreid_ext.data.transforms.on_batch import build_batch_steps
from fastreid_ext.diffusion.compute import ComputeSettings
from fastreid_ext.engine.schedule import build_lr_scheduler
from fastreid_ext.generation.captions.prompts import token_of
from fastreid_ext.generation.filters.thresholds import Thresholds, thresholds_of
from fastreid_ext.generation.fine_tuning.settings import FineTuningSettings
from fastreid_ext.generation.sampling.identity_images import DrawingSettings
from fastreid_ext.generation.sampling.image_files import FileSettings
from fastreid_ext.generation.sampling.reference_set import ReferenceSettings
from fastreid_ext.generation.sampling.sampler import SamplingSettings
from fastreid_ext.modeling.heads.bdb_head import BDBHead
from fastreid_ext.modeling.heads.projection_head import ProjectionHead
from fastreid_ext.modeling.meta_arch import ContrastivePretrain, SimCLRPretrain, add_view_losses


def configured(section: str, changes: dict[str, Any], **others: Any) -> CfgNode:
    """Return the defaults with keys of a section, and others named in full, at other values."""
    cfg = get_cfg()
    before = flat(get_cfg())
    pairs = {f"{section}.{key}": value for key, value in changes.items()} | others
    for key, value in pairs.items():
        assert key not in before or value != before[key] or key in others, f"{key} is the default"
    cfg.merge_from_list([part for pair in pairs.items() for part in pair])
    return cfg


def keys_of(section: str) -> set[str]:
    """Return the keys below a section."""
    return set(flat(value_of(get_cfg(), section)))


FINE_TUNING = {
    "METHOD": "full",
    "RANK": 3,
    "ALPHA": 5,
    "TARGET_MODULES": ["to_q"],
    "TEXT_ENCODER": True,
    "STEPS": 7,
    "BATCH_SIZE": 2,
    "GRADIENT_ACCUMULATION": 4,
    "BASE_LR": 0.5,
    "WEIGHT_DECAY": 0.25,
    "MAX_GRAD_NORM": 2.0,
    "PRIOR_WEIGHT": 0.75,
    "LOSS_ON": "sample",
    "MAX_SAMPLE_WEIGHT": 9.0,
    "GRADIENT_CHECKPOINTING": True,
    "ADAPTER_DTYPE": "bfloat16",
}
SAMPLING = {
    "IMAGES_PER_IDENTITY": 3,
    "SCHEDULER": "PNDMScheduler",
    "STEPS": 6,
    "GUIDANCE_SCALE": 2.5,
    "NEGATIVE_PROMPT": "blurred",
    "BATCH_SIZE": 5,
    "SAVE_SIZE": [64, 32],
    "RESIZE_MODE": "crop",
    "FORMAT": "png",
    "QUALITY": 50,
}
FILTER = {
    "USE": ["cctf", "clip"],
    "MAX_PER_IDENTITY": 4,
    "MIN_PER_IDENTITY": 2,
    "REID.RULE": "fixed",
    "REID.THRESHOLD": 0.125,
    "REID.NEAREST": False,
    "CCTF.THRESHOLD": 0.25,
    "CLIP.THRESHOLD": 0.75,
    "DUPLICATES.MIN_DISTANCE": 9,
}
PATCH = {"PROB": 0.25, "BETA": [0.75, 2.0], "AREA": [0.1, 0.3], "ASPECT": 0.5}
CORRUPTION = {
    "ENABLED": True,
    "PROB": 0.25,
    "NAMES": ["fog", "snow"],
    "SEVERITIES": [2, 4],
    "COUNT": 2,
    "WHERE": "native",
    "REFERENCE": True,
}
AUGMIX = {
    "ENABLED": True,
    "PROB": 0.25,
    "METHOD": "paper",
    "SEVERITY": 5,
    "WIDTH": 2,
    "DEPTH": 4,
    "ALPHA": 0.5,
}
SAMPLED = SamplingSettings(
    size=(64, 32),
    scheduler="PNDMScheduler",
    steps=6,
    guidance=2.5,
    negative_prompt="blurred",
    batch_size=5,
)


def attributes(made: Any) -> dict[str, Any]:
    """Return what an object holds, arrays and nested objects as plain values."""
    if isinstance(made, dict):
        return made
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(made).items()
        if not name.startswith("__")
    }


@pytest.mark.parametrize(
    ("section", "changes", "make", "expected", "elsewhere"),
    [
        (
            "GENERATION.FINE_TUNING",
            FINE_TUNING,
            FineTuningSettings.from_config,
            {
                **{key.lower(): value for key, value in FINE_TUNING.items()},
                "target_modules": ("to_q",),
                "token": "",
            },
            {"IDENTITIES_AT_ONCE", "KEEP_FULL_WEIGHTS", "KEEP_ADAPTERS"},  # of the stage
        ),
        (
            "GENERATION.SAMPLING",
            SAMPLING | {"FEW_STEP_ADAPTER": "lcm"},
            lambda cfg: vars(DrawingSettings.from_config(cfg)),
            {
                "images": 3,
                "run_seed": 11,
                "sampling": SAMPLED,
                "files": FileSettings(size=(64, 32), resize_mode="crop", format="png", quality=50),
            },
            # Of the prompts, and of the stage.
            {"PROMPTS", "PROMPTS_FILE", "MIN_KEPT", "MAX_IMAGES_PER_IDENTITY"},
        ),
        (
            "GENERATION.COMPUTE",
            {
                "CHANNELS_LAST": True,
                "COMPILE": "inductor",
                "TF32": True,
                "ATTENTION_SLICING": True,
                "VAE_SLICING": True,
                "VAE_TILING": True,
            },
            ComputeSettings.from_config,
            {
                "channels_last": True,
                "compile": "inductor",
                "tf32": True,
                "attention_slicing": True,
                "vae_slicing": True,
                "vae_tiling": True,
            },
            set(),
        ),
        (
            "GENERATION.REFERENCE_SET",
            {"IMAGES": 5},
            lambda cfg: vars(ReferenceSettings.from_config(cfg)),
            {
                "images": 5,
                "run_seed": 11,
                "sampling": dataclasses.replace(
                    SamplingSettings.from_config(get_cfg()), size=(64, 32)
                ),
            },
            {"MIN_SIMILARITY"},  # of the clusters
        ),
        (
            "GENERATION.FILTER",
            FILTER,
            lambda cfg: vars(thresholds_of(cfg.GENERATION.FILTER, {})),
            vars(
                Thresholds(
                    use=("cctf", "clip"),
                    most=4,
                    least=2,
                    reid={"": 0.125},
                    nearest=False,
                    cctf=0.25,
                    clip=0.75,
                    duplicates=9,
                )
            ),
            # Models and texts, and the percentile of RULE percentile.
            {
                *(
                    "BATCH_SIZE",
                    "REID.MODELS",
                    "REID.CONFIG_FILE",
                    "REID.WEIGHTS",
                    "REID.PERCENTILE",
                ),
                *("CCTF.CONFIG_FILE", "CCTF.WEIGHTS", "CLIP.MODEL", "CLIP.TEXTS"),
            },
        ),
        (
            "INPUT.CORRUPTION",
            CORRUPTION,
            from_config.build_corruption,
            {
                "names": ("fog", "snow"),
                "severities": (2, 4),
                "probability": 0.25,
                "count": 2,
                "reference": True,
            },
            set(),
        ),
        (
            "INPUT.AUGMIX",
            AUGMIX,
            lambda cfg: from_config.build_pixel_steps(cfg)[0],
            {
                "probability": 0.25,
                "severity": 5,
                "width": 2,
                "depth": 4,
                "alpha": 0.5,
            },
            set(),
        ),
        (
            "INPUT.SOFT_ERASING",
            PATCH | {"ENABLED": True},
            lambda cfg: from_config.build_pixel_steps(cfg)[0],
            {
                "probability": 0.25,
                "beta": (0.75, 2.0),
                "area": (0.1, 0.3),
                "aspect": 0.5,
                "mean": [1.0, 2.0, 3.0],
                "std": [4.0, 5.0, 6.0],
            },
            set(),
        ),
        (
            "INPUT.PATCH_MIXING",
            PATCH | {"ENABLED": True},
            lambda cfg: from_config.build_pixel_steps(cfg)[0],
            {"probability": 0.25, "beta": (0.75, 2.0), "area": (0.1, 0.3), "aspect": 0.5},
            set(),
        ),
        (
            "INPUT.CUTOUT",
            {"ENABLED": True, "PROB": 0.25, "SIZE": [3, 5]},
            lambda cfg: from_config.build_cutout(cfg)[0],
            {"probability": 0.25, "size": (3, 5), "fill": (1.0, 2.0, 3.0)},
            set(),
        ),
        (
            "INPUT.GRAYSCALE",
            {"ENABLED": True, "PROB": 0.75},
            lambda cfg: from_config.build_pixel_steps(cfg)[0],
            {"probability": 0.75},
            set(),
        ),
        (
            "INPUT.CHANNEL",
            {"ENABLED": True, "MODES": ["adaptive_gray"], "PROB": 0.75},
            lambda cfg: from_config.build_channel_steps(cfg)[0],
            {"probability": 0.75},
            {"ERASING_PROB"},  # below
        ),
        (
            "INPUT.MIXUP",
            {"ENABLED": True, "PROB": 0.75, "ALPHA": 0.5},
            lambda cfg: [
                (type(kind).__name__, kind.alpha, probability)
                for kind, probability in build_batch_steps(cfg, is_train=True)[-1].methods
            ],
            [("Mixup", 0.5, 0.75)],
            set(),
        ),
        (
            "INPUT.CUTMIX",
            {"ENABLED": True, "PROB": 0.75, "ALPHA": 0.5},
            lambda cfg: [
                (type(kind).__name__, kind.alpha, probability)
                for kind, probability in build_batch_steps(cfg, is_train=True)[-1].methods
            ],
            [("CutMix", 0.5, 0.75)],
            set(),
        ),
        (
            "MODEL.HEADS.BDB",
            {"DROP_HEIGHT": 0.25, "DROP_WIDTH": 0.5, "GLOBAL_DIM": 8, "PART_DIM": 16},
            BDBHead.from_config,
            {
                "feat_dim": 2048,
                "num_classes": 0,
                "global_dim": 8,
                "part_dim": 16,
                "drop_height": 0.25,
                "drop_width": 0.5,
                "norm": "BN",
            },
            set(),
        ),
        (
            "MODEL.HEADS.PROJECTION",
            {"HIDDEN_DIM": 24},
            ProjectionHead.from_config,
            {
                "feat_dim": 2048,
                "hidden_dim": 24,
                "embedding_dim": 0,
                "pool_type": "GlobalAvgPool",
            },
            set(),
        ),
        (
            "SOLVER.STAIRS",
            {"COUNT": 3, "EPOCHS": 4},
            lambda cfg: stairs(cfg.clone()),
            {"stairs": 3, "stair_epochs": 4, "milestones": [30, 55], "gamma": 0.1},
            set(),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_key_of_the_section_arrives(section, changes, make, expected, elsewhere):
    others = {"MODEL.PIXEL_MEAN": [1.0, 2.0, 3.0], "MODEL.PIXEL_STD": [4.0, 5.0, 6.0]}
    cfg = configured(section, changes, SEED=11, **others, **{"GENERATION.SIZE": [64, 32]})
    assert set(changes) | elsewhere == keys_of(section), "a key of the section is not in this test"
    made = make(cfg)
    assert (made if isinstance(made, list) else attributes(made)) == expected


def stairs(cfg: CfgNode) -> dict[str, Any]:
    """Return what the schedule of SOLVER.STAIRS holds."""
    cfg.SOLVER.SCHED = "StairWarmupLR"
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    made = build_lr_scheduler(cfg, optimizer, 10)["lr_sched"]
    return {key: vars(made)[key] for key in ("stairs", "stair_epochs", "milestones", "gamma")}


def test_the_probability_of_channel_erasing_arrives():
    changes = {"ENABLED": True, "MODES": ["erasing"], "ERASING_PROB": 0.75}
    [step] = from_config.build_channel_steps(configured("INPUT.CHANNEL", changes))
    assert step.probability == 0.75


@pytest.mark.parametrize("trains", [True, False])
def test_the_token_of_the_prompt_arrives(trains):
    cfg = configured(
        "GENERATION.PROMPT", {"TOKEN": "zwx"} | ({"TRAIN_TOKEN": True} if trains else {})
    )
    assert FineTuningSettings.from_config(cfg).token == ("zwx" if trains else "")
    assert token_of("0007", cfg) == ("<0007>" if trains else "zwx")


@pytest.mark.parametrize("recipe", ["cil", "corrupted"])
def test_every_key_of_views_arrives(recipe):
    changes = {"RECIPE": recipe, "COUNT": 5, "CROP": "separate"}
    changes |= {"ERASED": "shared"} if recipe == "cil" else {}
    others = {"INPUT.AUGMIX.METHOD": "paper"}
    views = from_config.build_views(configured("INPUT.VIEWS", changes, **others))
    assert (views.count, views.same_crop) == (5, False)
    assert getattr(views, "erased", "shared") == "shared"


def test_every_weight_of_the_losses_over_views_arrives():
    names = ("JSConsistencyLoss", "MultiPositiveContrastiveLoss")
    changes = {"NAME": names, "JS.SCALE": 3.0}
    changes |= {"MULTI_POSITIVE.SCALE": 0.25, "MULTI_POSITIVE.TEMPERATURE": 0.5}
    model = nn.Identity()
    model.losses = lambda outputs, targets: {}
    views = {"INPUT.VIEWS.RECIPE": "cil", "INPUT.VIEWS.SUPERVISED": "all"}
    add_view_losses(model, configured("MODEL.LOSSES", changes, **views))
    held = attributes(model.losses)
    assert {key: held[f"_{key}"] for key in ("on_all_views", "js_scale", "contrast_scale")} == {
        "on_all_views": True,
        "js_scale": 3.0,
        "contrast_scale": 0.25,
    }
    assert held["_temperature"] == 0.5


def test_every_key_of_contrastive_pretraining_arrives():
    changes = {"QUEUE": 96, "MOMENTUM": 0.5}
    assert set(changes) == keys_of("MODEL.MOCO")
    cfg = configured(
        "MODEL.MOCO",
        changes,
        **{
            "MODEL.BACKBONE.DEPTH": "18x",
            "MODEL.BACKBONE.FEAT_DIM": 512,
            "MODEL.HEADS.NAME": "ProjectionHead",
            "MODEL.HEADS.EMBEDDING_DIM": 8,
            "MODEL.LOSSES.NAME": ("JSConsistencyLoss",),
            "MODEL.LOSSES.JS.SCALE": 3.0,
            "MODEL.LOSSES.JS.OVER": "channels",
            "MODEL.LOSSES.MULTI_POSITIVE.SCALE": 0.25,
            "MODEL.LOSSES.MULTI_POSITIVE.TEMPERATURE": 0.5,
            "MODEL.LOSSES.NT_XENT.SCALE": 0.75,
            "MODEL.LOSSES.NT_XENT.TEMPERATURE": 0.3,
        },
    )
    read = ContrastivePretrain.from_config(cfg)
    assert {
        "momentum": 0.5,
        "queue_size": 96,
        "embedding_dim": 8,
        "temperature": 0.5,
        "contrast_scale": 0.25,
        "js_scale": 3.0,
        "js_over": "channels",
    }.items() <= read.items()
    assert {"temperature": 0.3, "scale": 0.75}.items() <= SimCLRPretrain.from_config(cfg).items()


def test_every_key_of_generated_sets_arrives(monkeypatch):
    changes = {"ROOTS": ["x"], "PERSON_IDS": "kept", "CAMERA_RULE": "per_image"}
    changes |= {"MAX_PER_IDENTITY": 3}
    assert set(changes) | {"BATCH_SHARE"} == keys_of("DATASETS.GENERATED")  # of the sampler
    given = SimpleNamespace()

    class Asked:
        def __init__(self, **kwargs: Any) -> None:
            vars(given).update(kwargs)

    monkeypatch.setitem(_registry(), "GeneratedPersons", Asked)
    open_dataset(configured("DATASETS.GENERATED", changes), "GeneratedPersons")
    assert vars(given) == {"root": "datasets"} | {key.lower(): v for key, v in changes.items()}


def _registry() -> dict[str, Any]:
    from fastreid.data.datasets import DATASET_REGISTRY

    return DATASET_REGISTRY._obj_map
