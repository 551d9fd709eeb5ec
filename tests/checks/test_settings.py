"""Every key of a section reaches the object made of it: all are set to other values at once."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fastreid.config import CfgNode, get_cfg
from torch import nn

from fastreid_ext.data.configured_sets import open_dataset
from fastreid_ext.data.transforms import from_config
from fastreid_ext.data.transforms.on_batch import build_batch_steps
from fastreid_ext.diffusion.compute import ComputeSettings
from fastreid_ext.engine.schedule import build_lr_scheduler
from fastreid_ext.generation.captions.prompts import token_of
from fastreid_ext.generation.filters.thresholds import Thresholds, thresholds_of
from fastreid_ext.generation.fine_tuning.settings import FineTuningSettings
from fastreid_ext.generation.sampling.identity_images import IdentityImagesSettings
from fastreid_ext.generation.sampling.image_files import FileSettings
from fastreid_ext.generation.sampling.reference_set import ReferenceSettings
from fastreid_ext.generation.sampling.sampler import SamplingSettings
from fastreid_ext.modeling.heads.bdb_head import BDBHead
from fastreid_ext.modeling.heads.projection_head import ProjectionHead

from .configured import attributes, configured, keys_of

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
    guidance_scale=2.5,
    negative_prompt="blurred",
    batch_size=5,
)


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
            lambda cfg: vars(IdentityImagesSettings.from_config(cfg)),
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
                    max_images=4,
                    min_images=2,
                    reid={"": 0.125},
                    require_nearest=False,
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
            lambda cfg: from_config.build_channel_steps(cfg)[0][0],
            {"probability": 0.75},
            {"ERASING_PROB", "INFRARED_MODES"},  # below
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
            {"HIDDEN_DIM": 24, "WITH_NORM": True},
            ProjectionHead.from_config,
            {
                "feat_dim": 2048,
                "hidden_dim": 24,
                "embedding_dim": 0,
                "with_norm": True,
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
    """Build the schedule of SOLVER.STAIRS and read its attributes."""
    cfg.SOLVER.SCHED = "StairWarmupLR"
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    made = build_lr_scheduler(cfg, optimizer, 10)["lr_sched"]
    return {key: vars(made)[key] for key in ("stairs", "stair_epochs", "milestones", "gamma")}


def test_the_probability_of_channel_erasing_arrives():
    changes = {"ENABLED": True, "MODES": ["erasing"], "ERASING_PROB": 0.75}
    [step], _ = from_config.build_channel_steps(configured("INPUT.CHANNEL", changes))
    assert step.probability == 0.75


def test_the_operations_on_infrared_images_arrive():
    changes = {"ENABLED": True, "INFRARED_MODES": ["exchange"], "PROB": 0.75}
    _, [step] = from_config.build_channel_steps(configured("INPUT.CHANNEL", changes))
    assert (type(step).__name__, step.probability) == ("ChannelExchange", 0.75)


@pytest.mark.parametrize("trains", [True, False])
def test_the_token_of_the_prompt_arrives(trains):
    cfg = configured(
        "GENERATION.PROMPT", {"TOKEN": "zwx"} | ({"TRAIN_TOKEN": True} if trains else {})
    )
    assert FineTuningSettings.from_config(cfg).token == ("zwx" if trains else "")
    assert token_of("0007", cfg) == ("<0007>" if trains else "zwx")


def test_every_key_of_generated_sets_arrives(monkeypatch):
    changes = {"ROOTS": ["x"], "PERSON_IDS": "kept", "CAMERA_RULE": "per_image"}
    changes |= {"MAX_PER_IDENTITY": 3, "MAX_IMAGES": 5}
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
