"""Contradictions of training on clusters."""

import re
from pathlib import Path

import pytest

from ..tiny_cfg import tiny_cfg

CLUSTERS = {
    "UNSUPERVISED.ENABLED": True,
    "MODEL.META_ARCHITECTURE": "ClusterBaseline",
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
}


def test_clusters_are_allowed():
    assert tiny_cfg(CLUSTERS).UNSUPERVISED.EPS == 0.6


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"UNSUPERVISED.ENABLED": False},
            r"learns from clusters (ClusterBaseline, ",
        ),
        ({"MODEL.META_ARCHITECTURE": "MGN"}, "got True with MGN; start from a recipe of projects"),
        ({"UNSUPERVISED.K2": 31}, "K2 of at most K1, got 31 and 30; 6 and 30 are usual"),
        ({"UNSUPERVISED.EPS": 1.0}, "expected UNSUPERVISED.EPS in (0, 1), got 1.0; 0.4 to 0.7"),
        ({"UNSUPERVISED.EPS": 0.0}, "expected UNSUPERVISED.EPS in (0, 1), got 0.0"),
        (
            {"DATALOADER.SAMPLER_TRAIN": "OncePerIdentitySampler"},
            "got OncePerIdentitySampler, which needs the identities of the data",
        ),
        (
            {"DATASETS.GENERATED.BATCH_SHARE": 0.5, "DATASETS.GENERATED.ROOTS": ("a",)},
            "BATCH_SHARE counts original identities, which UNSUPERVISED does not have; set it to 0",
        ),
        (
            {"INPUT.MIXUP.ENABLED": True, "INPUT.MIXUP.PROB": 0.5},
            "INPUT.MIXUP is not made for the labels of UNSUPERVISED",
        ),
        (
            {"TEST.PRECISE_BN.ENABLED": True, "TEST.PRECISE_BN.DATASET": "Market1501"},
            "set TEST.PRECISE_BN.ENABLED False",
        ),
        (
            {
                "MODEL.META_ARCHITECTURE": "ClusterContrast",
                "MODEL.LOSSES.NAME": ("ClusterContrastLoss",),
            },
            "expected MODEL.HEADS.NAME EmbeddingHead with NECK_FEAT after under ClusterContra",
        ),
        (
            {"UNSUPERVISED.EPS": 0.99, "UNSUPERVISED.EPS_GAP": 0.02},
            "EPS minus and plus EPS_GAP between 0 and 1, got 0.99 and 0.02; 0.02 is SpCL's gap",
        ),
        (
            {
                "MODEL.META_ARCHITECTURE": "SpCL",
                "MODEL.LOSSES.NAME": ("InstanceContrastLoss",),
            },
            "OUTLIERS kept under SpCL, whose memory has a class for every image, got dropped",
        ),
        (
            {"MODEL.META_ARCHITECTURE": "ClusterContrast"},
            "unknown name 'CrossEntropyLoss' in MODEL.LOSSES.NAME",
        ),
    ],
)
def test_contradictions_are_named(changes, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_cfg(CLUSTERS | changes)


def test_keys_of_clusters_are_not_read_without_them():
    with pytest.raises(ValueError, match=r"UNSUPERVISED.EPS is 0.5 .* because UNSUPERVISED.ENABLE"):
        tiny_cfg({"UNSUPERVISED.EPS": 0.5})


METHODS = Path(__file__).resolve().parents[2] / "projects/Unsupervised/configs"
UNTRAINED = {"MODEL.BACKBONE.PRETRAIN": False}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"INPUT.VIEWS.RECIPE": "independent"}, "RECIPE strong_weak under ICE, which compares two"),
        (
            {"MODEL.LOSSES.NAME": ("CameraProxyLoss",)},
            "expected ICELoss in MODEL.LOSSES.NAME",
        ),
        ({"INPUT.VIEWS.COUNT": 2}, "COUNT 3 (two augmented views, resized image) for the recipe"),
        ({"INPUT.VIEWS.CROP": "shared"}, "VIEWS.CROP is shared (default '') but is not read"),
        ({"INPUT.SIZE_TRAIN": [64]}, "expected INPUT.SIZE_TRAIN [rows, columns] with INPUT.VIEWS"),
        ({"INPUT.BLUR.SIGMA": [2.0, 0.1]}, "SIGMA [least, largest] deviation in pixels, above 0"),
        ({"MODEL.HEADS.NECK_FEAT": "before"}, "EmbeddingHead with NECK_FEAT after under ICE"),
        ({"MODEL.ICE.MOMENTUM": 1.0}, "expected MODEL.ICE.MOMENTUM in [0, 1), got 1.0; 0.999 is"),
        ({"DATALOADER.NUM_INSTANCE": 5}, "a multiple of DATALOADER.NUM_INSTANCE, got 32 and 5"),
        ({"SOLVER.IMS_PER_BATCH": 36}, "multiple of MODEL.BN_GROUP, got 36 and 8"),
    ],
)
def test_contradictions_of_ice_are_named(changes, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_cfg(UNTRAINED | changes, file=METHODS / "Base-ICE.yml")


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        (
            {
                "MODEL.META_ARCHITECTURE": "CaCL",
                "MODEL.LOSSES.NAME": ("CrossEntropyLoss",),
                "DATASETS.SOURCES": ("DukeMTMC",),
            },
            "MODEL.META_ARCHITECTURE CaCL",
        ),
        (
            {
                "MODEL.META_ARCHITECTURE": "DomainBaseline",
                "DATASETS.SOURCES": ("DukeMTMC",),
                "UNSUPERVISED.CURRICULUM.ENABLED": True,
            },
            "UNSUPERVISED.CURRICULUM",
        ),
        (
            {
                "MODEL.META_ARCHITECTURE": "PPLR",
                "MODEL.HEADS.NAME": "StripeHead",
                "MODEL.LOSSES.NAME": ("PPLRLoss", "CameraProxyLoss"),
            },
            "MODEL.LOSSES.NAME CameraProxyLoss",
        ),
    ],
)
def test_sets_without_cameras_beside_others_are_named(changes, used):
    sets = {
        "DATASETS.SETS": ["Crowd=UnlabelledPersons:/data/c"],
        "DATASETS.NAMES": ("Market1501", "Crowd"),
    }
    expected = f"{used} uses the cameras of all images, but those of Crowd in DATASETS.NAMES are"
    with pytest.raises(ValueError, match=expected):
        tiny_cfg(CLUSTERS | changes | sets)
    assert tiny_cfg(CLUSTERS | sets)  # a method that does not need them


def test_camera_keys_are_not_read_without_the_camera_term():
    agnostic = {"MODEL.LOSSES.NAME": ("ICELoss",)}
    assert tiny_cfg(UNTRAINED | agnostic, file=METHODS / "Base-ICE.yml")
    with pytest.raises(ValueError, match=r"CAMERA_PROXY.SCALE is 2.0 .* because MODEL.LOSSES.NAME"):
        tiny_cfg(
            UNTRAINED | agnostic | {"MODEL.LOSSES.CAMERA_PROXY.SCALE": 2.0},
            file=METHODS / "Base-ICE.yml",
        )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"MODEL.LOSSES.NAME": ("CameraProxyLoss",)}, "expected PPLRLoss in MODEL.LOSSES.NAME und"),
        (
            {"MODEL.HEADS.NAME": "EmbeddingHead"},
            "StripeHead under PPLR, got EmbeddingHead; start f",
        ),
        (
            {"INPUT.SIZE_TRAIN": [32, 32]},
            "PPLR needs a map of 3 rows or more, but INPUT.SIZE_TRAIN [32, 32] gives 2 with build_",
        ),
        (
            {"MODEL.HEADS.STRIPES": 25},
            "STRIPES 25 is more than the 24 rows of the map that INPUT.SIZE_TRAIN [384, 128] gives",
        ),
        (
            {"MODEL.META_ARCHITECTURE": "ClusterBaseline", "MODEL.LOSSES.NAME": ("TripletLoss",)},
            "StripeHead has the features of several stripes, which ClusterBaseline does not know",
        ),
        ({"MODEL.LOSSES.PPLR.BETA": 1.5}, "expected MODEL.LOSSES.PPLR.BETA in [0, 1], got 1.5"),
        ({"DATALOADER.NUM_INSTANCE": 1}, "PPLRLoss, which compares images of one identity, but"),
    ],
)
def test_contradictions_of_pplr_are_named(changes, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_cfg(UNTRAINED | changes, file=METHODS / "Base-PPLR.yml")
