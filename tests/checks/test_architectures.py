"""Refused configurations of losses over views and of contrastive pre-training."""

import re

import pytest

from ..tiny_cfg import tiny_cfg
from .accepted import expect_accepted

CPU = {"MODEL.DEVICE": "cpu"}
NAMES = ("CrossEntropyLoss", "TripletLoss", "JSConsistencyLoss", "MultiPositiveContrastiveLoss")
VIEWS = CPU | {
    "INPUT.VIEWS.RECIPE": "cil",
    "INPUT.AUGMIX.METHOD": "paper",
    "MODEL.LOSSES.NAME": NAMES,
    "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
}
DAPG = CPU | {
    "MODEL.META_ARCHITECTURE": "ContrastivePretrain",
    "MODEL.HEADS.NAME": "ProjectionHead",
    "MODEL.HEADS.EMBEDDING_DIM": 128,
    "MODEL.LOSSES.NAME": NAMES[2:],
    "INPUT.VIEWS.RECIPE": "dapg",
}
SIMCLR = DAPG | {
    "MODEL.META_ARCHITECTURE": "SimCLRPretrain",
    "MODEL.LOSSES.NAME": ("NTXentLoss",),
    "INPUT.VIEWS.RECIPE": "independent",
}
BYOL = SIMCLR | {
    "MODEL.META_ARCHITECTURE": "BYOLPretrain",
    "MODEL.LOSSES.NAME": ("BYOLLoss",),
}
CAJ = CPU | {
    "MODEL.LOSSES.NAME": NAMES[:2],
    "INPUT.VIEWS.RECIPE": "caj",
    "INPUT.VIEWS.SUPERVISED": "all",
}
POSE = DAPG | {
    "MODEL.LOSSES.NAME": NAMES[3:],
    "INPUT.VIEWS.RECIPE": "pose",
    "DATASETS.POSITIVES.ROOTS": ["generated"],
}


@pytest.mark.parametrize(
    "keys", [VIEWS, DAPG, POSE, CAJ, BYOL, SIMCLR, SIMCLR | {"INPUT.VIEWS.COUNT": 2}]
)
def test_fitting_keys_are_accepted(keys):
    expect_accepted(tiny_cfg(keys), keys)


@pytest.mark.parametrize("architecture", ["MGN", "BDB"])
def test_losses_are_known_to_all_architectures(architecture):
    keys = VIEWS | {"MODEL.META_ARCHITECTURE": architecture}
    if architecture == "BDB":
        keys |= {"MODEL.HEADS.NAME": "BDBHead", "MODEL.HEADS.NECK_FEAT": "before"}
    assert tiny_cfg(keys).MODEL.LOSSES.NAME == NAMES


@pytest.mark.parametrize(
    ("keys", "key", "value", "message"),
    [
        (CPU, "MODEL.LOSSES.NAME", ("JSConsistency",), "did you mean 'JSConsistencyLoss'?"),
        (
            CPU,
            "MODEL.LOSSES.NAME",
            ("CrossEntropyLoss", "JSConsistencyLoss"),
            "MODEL.LOSSES.NAME has JSConsistencyLoss, which compares views of an image, but "
            "INPUT.VIEWS.RECIPE is empty; set it to cil (start from "
            "projects/CIL/configs/Base-AGW-CIL.yml)",
        ),
        (
            VIEWS,
            "MODEL.LOSSES.NAME",
            NAMES[:2],
            "no loss looks at more than the first; add JSConsistencyLoss to MODEL.LOSSES.NAME",
        ),
        (VIEWS, "INPUT.VIEWS.RECIPE", "dapg", "has no clean view; it is for ContrastivePretrain"),
        (VIEWS, "INPUT.VIEWS.SUPERVISED", "first", "in INPUT.VIEWS.SUPERVISED; known: all"),
        (VIEWS, "MODEL.LOSSES.JS.SCALE", -1.0, "LOSSES.JS.SCALE of at least 0, got -1.0"),
        (
            VIEWS,
            "MODEL.LOSSES.MULTI_POSITIVE.SCALE",
            -1.0,
            "MULTI_POSITIVE.SCALE of at least 0",
        ),
        (
            VIEWS,
            "MODEL.LOSSES.MULTI_POSITIVE.TEMPERATURE",
            0.0,
            "above 0, got 0.0; 0.7 is",
        ),
        (DAPG, "MODEL.MOCO.MOMENTUM", 1.0, "MODEL.MOCO.MOMENTUM in [0, 1), got 1.0"),
        (DAPG, "MODEL.MOCO.QUEUE", -1, "expected MODEL.MOCO.QUEUE of at least 0, got -1"),
        (DAPG, "MODEL.MOCO.QUEUE", 191, "keys of each image of a batch, 3 * 64, got 191"),
        (DAPG, "MODEL.LOSSES.JS.OVER", "pixels", "JS.OVER; known: channels, negatives"),
        (DAPG, "MODEL.HEADS.PROJECTION.HIDDEN_DIM", -1, "HIDDEN_DIM of at least 0, got -1"),
        (DAPG, "MODEL.HEADS.EMBEDDING_DIM", 0, "with an EMBEDDING_DIM under ContrastivePretrain"),
        (DAPG, "MODEL.HEADS.NAME", "EmbeddingHead", "expected MODEL.HEADS.NAME ProjectionHead"),
        (DAPG, "INPUT.VIEWS.RECIPE", "", "RECIPE dapg or pose under ContrastivePretrain, got ''"),
        (
            POSE,
            "MODEL.LOSSES.NAME",
            NAMES[2:],
            "compares keys of one image, but INPUT.VIEWS.RECIPE pose has one; remove the name",
        ),
        (POSE, "MODEL.MOCO.QUEUE", 63, "at least the 1 keys of each image of a batch, 1 * 64, got"),
        (POSE, "DATASETS.POSITIVES.ROOTS", [], "but DATASETS.POSITIVES.ROOTS is empty; give the"),
        (POSE, "DATASETS.POSITIVES.PAIRED_BY", "pid", "PAIRED_BY; known: identity, image"),
        (POSE, "INPUT.CHANNEL.ENABLED", True, "pose applies INPUT.CHANNEL by itself"),
        (POSE, "INPUT.VIEWS.COUNT", 3, "COUNT 2 (image, pose-changed image) for the recipe pose"),
        (VIEWS, "INPUT.VIEWS.RECIPE", "pose", "INPUT.VIEWS.RECIPE pose is for ContrastivePretrain"),
        (CAJ, "INPUT.VIEWS.SUPERVISED", "clean", "expected INPUT.VIEWS.SUPERVISED all for INPUT"),
        (CAJ, "MODEL.LOSSES.NAME", NAMES[:3], "caj shows an infrared image once; remove the name"),
        (CAJ, "INPUT.VIEWS.COUNT", 3, "COUNT 2 (image, image with one channel) for the recipe"),
        (CAJ, "INPUT.CHANNEL.ENABLED", True, "caj applies INPUT.CHANNEL by itself"),
        (SIMCLR, "INPUT.VIEWS.RECIPE", "dapg", "RECIPE independent under SimCLRPretrain, got 'd"),
        (SIMCLR, "INPUT.VIEWS.COUNT", 3, "expected INPUT.VIEWS.COUNT 2 under SimCLRPretrain"),
        (
            DAPG,
            "DATALOADER.SAMPLER_TRAIN",
            "NaiveIdentitySampler",
            "images of one identity in a batch would be each other's negatives",
        ),
        (DAPG, "MODEL.LOSSES.NAME", NAMES[2:3], "JSConsistencyLoss alone is 0 for a constant"),
        (DAPG, "MODEL.LOSSES.NAME", ("TripletLoss",), "unknown name 'TripletLoss'"),
        (SIMCLR, "MODEL.LOSSES.NAME", ("NTXent",), "did you mean 'NTXentLoss'?"),
        (BYOL, "MODEL.LOSSES.NAME", ("BYOL",), "did you mean 'BYOLLoss'?"),
        (BYOL, "MODEL.BYOL.MOMENTUM", 1.0, "MODEL.BYOL.MOMENTUM in [0, 1), got 1.0; 0.996 is"),
        (BYOL, "INPUT.VIEWS.COUNT", 3, "expected INPUT.VIEWS.COUNT 2 under BYOLPretrain, got 3"),
        (BYOL, "TEST.PRECISE_BN.ENABLED", True, "would move the second network of BYOLPretrain"),
        (
            DAPG,
            "TEST.PRECISE_BN.ENABLED",
            True,
            "TEST.PRECISE_BN runs training batches",
        ),
        (DAPG, "SOLVER.IMS_PER_BATCH", 1, "at least two images in a batch, got 1"),
        (CPU, "MODEL.HEADS.NAME", "ProjectionHead", "has no classes, which Baseline needs"),
        (CPU, "DATASETS.NAMES", ("UnlabelledPersons",), "UnlabelledPersons is used but DATASETS.F"),
        (CPU, "DATASETS.NAMES", ("UnlabelledPersons",), "but Baseline learns from labels; start"),
        (CPU, "DATASETS.TESTS", ("UnlabelledPersons",), "has no labels to test with"),
    ],
)
def test_mistakes_are_named_with_what_to_do(keys, key, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny_cfg(keys, {key: value})


def test_groups_of_batch_norm_fill_the_batch():
    keys = CPU | {"MODEL.BN_GROUP": 16, "SOLVER.IMS_PER_BATCH": 32}
    assert tiny_cfg(keys).MODEL.BN_GROUP == 16
    with pytest.raises(ValueError, match=r"multiple of MODEL\.BN_GROUP, got 40 and 16; change one"):
        tiny_cfg(keys | {"SOLVER.IMS_PER_BATCH": 40})
