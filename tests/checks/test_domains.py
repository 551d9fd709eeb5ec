"""Contradictions of training on a source and a target."""

import re

import pytest

from ..tiny_cfg import tiny_cfg

DOMAINS = {
    "UNSUPERVISED.ENABLED": True,
    "MODEL.META_ARCHITECTURE": "DomainBaseline",
    "MODEL.DOMAIN_BN.ENABLED": True,
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
    "DATASETS.SOURCES": ("Market1501",),
    "DATASETS.NAMES": ("MSMT17",),
}
SETS = ["A=/data/a", "B=/data/a", "Crowd=UnlabelledPersons:/data/c"]


def test_a_source_and_a_target_are_allowed():
    assert tiny_cfg(DOMAINS).DATASETS.SOURCES == ("Market1501",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"DATASETS.SOURCES": (), "MODEL.DOMAIN_BN.ENABLED": False},
            "an architecture that learns from a source (DomainBaseline",
        ),
        (
            {"MODEL.META_ARCHITECTURE": "ClusterBaseline"},
            "and only with these, got Market1501 with ClusterBaseline; start from a recipe of proj",
        ),
        (
            {"UNSUPERVISED.CURRICULUM.ENABLED": True, "UNSUPERVISED.OUTLIERS": "kept"},
            "expected UNSUPERVISED.OUTLIERS dropped with UNSUPERVISED.CURRICULUM",
        ),
        (
            {"MODEL.META_ARCHITECTURE": "CaCL", "MODEL.LOSSES.NAME": ("TripletLoss",)},
            "expected CrossEntropyLoss in MODEL.LOSSES.NAME under CaCL, which weighs it, got Tripl",
        ),
        ({"DATASETS.SOURCES": ("Market",)}, "unknown name 'Market' in DATASETS.SOURCES; did you"),
        (
            {"DATASETS.SOURCES": ("MSMT17",)},
            "MSMT17 is in DATASETS.SOURCES and the same as MSMT17 in DATASETS.NAMES; a target that",
        ),
        (
            {"DATASETS.SETS": SETS, "DATASETS.SOURCES": ("A",), "DATASETS.NAMES": ("B",)},
            "A is in DATASETS.SOURCES and the same as B in DATASETS.NAMES",
        ),
        (
            {"DATASETS.SETS": SETS, "DATASETS.SOURCES": ("Crowd",)},
            "DATASETS.SOURCES has Crowd, which has no labels; name labelled sets there",
        ),
        (
            {"SOLVER.IMS_PER_BATCH": 33},
            "expected an even SOLVER.IMS_PER_BATCH with DATASETS.SOURCES, half of it",
        ),
        (
            {"SOLVER.IMS_PER_BATCH": 48, "MODEL.BN_GROUP": 16},
            "the images of a domain, to be a multiple of MODEL.BN_GROUP, got 24 and 16",
        ),
        (
            {"MODEL.HEADS.CLS_LAYER": "CircleSoftmax"},
            "expected MODEL.HEADS.CLS_LAYER Linear under DomainBaseline",
        ),
        (
            {"MODEL.LOSSES.CE.EPSILON": -1.0},
            "expected MODEL.LOSSES.CE.EPSILON in [0, 1) under DomainBaseline",
        ),
        (
            {
                "MODEL.BACKBONE.NAME": "build_plain_vit_backbone",
                "MODEL.BACKBONE.DEPTH": "tiny",
                "MODEL.BACKBONE.FEAT_DIM": 0,
            },
            "build_plain_vit_backbone has none: it normalises each image by itself; set it to",
        ),
        (
            {
                "MODEL.BACKBONE.NAME": "build_swin_backbone",
                "MODEL.BACKBONE.DEPTH": "tiny",
                "MODEL.BACKBONE.FEAT_DIM": 0,
            },
            "build_swin_backbone has none",
        ),
    ],
)
def test_contradictions_are_named(changes, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_cfg(DOMAINS | changes)


IDM = DOMAINS | {
    "MODEL.META_ARCHITECTURE": "IDM",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss", "BridgeLoss"),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"MODEL.IDM.STAGE": -1},
            "expected BridgeLoss in MODEL.LOSSES.NAME with MODEL.IDM.STAGE of 0 to 4, and only th",
        ),
        ({"MODEL.IDM.STAGE": 5}, "expected MODEL.IDM.STAGE in [-1, 4], got 5"),
        (
            {"MODEL.LOSSES.NAME": ("TripletLoss", "BridgeLoss")},
            "expected CrossEntropyLoss in MODEL.LOSSES.NAME under IDM",
        ),
        ({"MODEL.HEADS.NECK_FEAT": "after"}, "expected MODEL.HEADS.NECK_FEAT before under IDM"),
        (
            {
                "MODEL.BACKBONE.NAME": "build_osnet_backbone",
                "MODEL.BACKBONE.DEPTH": "x0_25",
                "MODEL.BACKBONE.FEAT_DIM": 0,
            },
            "build_resnest_backbone), got build_osnet_backbone; take build_resnet_backbone",
        ),
        (
            {"MODEL.LOSSES.NAME": ("CrossEntropyLoss", "CircleLoss", "BridgeLoss")},
            "unknown name 'CircleLoss' in MODEL.LOSSES.NAME",
        ),
    ],
)
def test_contradictions_of_idm_are_named(changes, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_cfg(IDM | changes)


UNRN = DOMAINS | {
    "MODEL.META_ARCHITECTURE": "UNRN",
    "MODEL.LOSSES.NAME": ("UNRNLoss",),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"MODEL.LOSSES.NAME": ("CrossEntropyLoss",)},
            "unknown name 'CrossEntropyLoss' in MODEL.LOSSES.NAME",
        ),
        ({"MODEL.HEADS.EMBEDDING_DIM": 64}, "EmbeddingHead without an EMBEDDING_DIM under UNRN"),
        ({"MODEL.HEADS.NAME": "ClasHead"}, "before and behind the neck, got ClasHead and 0; start"),
        (
            {
                "MODEL.BACKBONE.NAME": "build_osnet_backbone",
                "MODEL.BACKBONE.DEPTH": "x0_25",
                "MODEL.BACKBONE.FEAT_DIM": 0,
                "MODEL.UNRN.SIDE_HEAD": True,
            },
            "expected a backbone of four stages for MODEL.UNRN.SIDE_HEAD, which classifies the map",
        ),
        (
            {"MODEL.UNRN.FORM": "code"},
            "MODEL.UNRN.FORM code leaves the contrast out of every epoch that begins with a",
        ),
        ({"MODEL.UNRN.FORM": "both"}, "unknown name 'both' in MODEL.UNRN.FORM"),
        ({"MODEL.UNRN.MEMORY": 0}, "expected MODEL.UNRN.MEMORY"),
        ({"MODEL.UNRN.MOMENTUM": 1.0}, "expected MODEL.UNRN.MOMENTUM in [0, 1), got 1.0; 0.999"),
        (
            {"MODEL.LOSSES.UNRN.GAMMA": 0.0},
            "expected MODEL.LOSSES.UNRN.GAMMA above 0, got 0.0; 128",
        ),
        ({"UNSUPERVISED.PERIOD": 0}, "expected UNSUPERVISED.PERIOD"),
    ],
)
def test_contradictions_of_unrn_are_named(changes, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_cfg(UNRN | changes)


GLT = DOMAINS | {
    "MODEL.META_ARCHITECTURE": "GLT",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"MODEL.LOSSES.NAME": ("TripletLoss",)},
            "expected CrossEntropyLoss in MODEL.LOSSES.NAME under GLT, which has one of each group",
        ),
        ({"MODEL.HEADS.EMBEDDING_DIM": 64}, "EmbeddingHead without an EMBEDDING_DIM under GLT"),
        ({"MODEL.GLT.CHOSEN": 3}, "expected MODEL.GLT.CHOSEN below the 3 groups of MODEL.GLT.CLU"),
        (
            {"MODEL.GLT.CLUSTERS": [20, 4, 20], "SOLVER.IMS_PER_BATCH": 64},
            "a batch has 8 clusters of the target (half of SOLVER.IMS_PER_BATCH by DATALOADER.NUM",
        ),
        ({"MODEL.GLT.CLUSTERS": [1]}, "expected MODEL.GLT.CLUSTERS"),
        ({"MODEL.GLT.CLUSTERS": []}, "expected MODEL.GLT.CLUSTERS"),
        ({"MODEL.GLT.SHARPNESS": 0.0}, "expected MODEL.GLT.SHARPNESS above 0, got 0.0; 25 is GLT"),
        ({"MODEL.GLT.DROPOUT": 1.0}, "expected MODEL.GLT.DROPOUT in [0, 1), got 1.0; 0.2 is GLT's"),
        ({"MODEL.GLT.PREVIOUS_RUN": "no.pth"}, "no file at no.pth (MODEL.GLT.PREVIOUS_RUN); give"),
        (
            {"UNSUPERVISED.CURRICULUM.ENABLED": True},
            "CURRICULUM leaves images out, but GLT divides all of them among its clusters",
        ),
        ({"UNSUPERVISED.EPS": 0.5}, "UNSUPERVISED.EPS is 0.5 (default 0.6) but is not read"),
    ],
)
def test_contradictions_of_glt_are_named(changes, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        tiny_cfg(GLT | changes)


def test_clusters_of_other_methods_do_not_last_several_epochs():
    with pytest.raises(ValueError, match=r"PERIOD is 2 .* because MODEL.META_ARCHITECTURE is Dom"):
        tiny_cfg(DOMAINS | {"UNSUPERVISED.PERIOD": 2})


def test_a_transformer_without_norms_of_domains_is_allowed():
    changes = {
        "MODEL.BACKBONE.NAME": "build_plain_vit_backbone",
        "MODEL.BACKBONE.DEPTH": "tiny",
        "MODEL.BACKBONE.FEAT_DIM": 0,
        "MODEL.DOMAIN_BN.ENABLED": False,
    }
    assert not tiny_cfg(DOMAINS | changes).MODEL.DOMAIN_BN.ENABLED


def test_sources_are_not_read_without_clusters():
    with pytest.raises(ValueError, match=r"DATASETS.SOURCES is .* because UNSUPERVISED.ENABLED"):
        tiny_cfg({"DATASETS.SOURCES": ("Market1501",)})
