import re

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.backbones import BACKBONE_REGISTRY

from fastreid_ext.checks.backbone import backbone_problems, map_rows
from fastreid_ext.checks.table import unread_keys
from fastreid_ext.config import add_fastreid_ext_config, load_config
from fastreid_ext.modeling.backbones.facts import FACTS

CPU = ["MODEL.DEVICE", "cpu"]
RESNET = "build_resnet_backbone"
SWIN = "build_swin_backbone"
VIT = "build_plain_vit_backbone"
CLIP = "build_clip_vit_backbone"
TIMM = "build_timm_backbone"
# The first depth of each always, all with `make test-all`: building a ResNeSt-269 takes seconds.
BUILDS = [
    pytest.param(name, depth, marks=[pytest.mark.slow] if number else [])
    for name, facts in FACTS.items()
    for number, depth in enumerate(facts.widths)
]


def keys(name, depth="", feat_dim=0, **more):
    """KEY VALUE pairs; ``more`` are named like HEADS__POOL_LAYER or, without __, of BACKBONE."""
    given = {"NAME": name, "DEPTH": depth, "FEAT_DIM": feat_dim, **more}
    pairs = list(CPU)
    for key, value in given.items():
        prefix = "" if key.startswith(("INPUT", "MODEL")) else "MODEL.BACKBONE."
        pairs += [prefix + key.replace("__", "."), value]
    return pairs


def sizes(train, test=None):
    return {"INPUT__SIZE_TRAIN": list(train), "INPUT__SIZE_TEST": list(test or train)}


def test_every_backbone_that_is_registered_is_known():
    ours_or_hosts = {
        name
        for name, made in BACKBONE_REGISTRY._obj_map.items()
        if made.__module__.startswith(("fastreid.", "fastreid_ext."))
    }
    assert ours_or_hosts == set(FACTS)


@pytest.mark.parametrize(("name", "depth"), BUILDS)
def test_width_and_rows_are_what_the_built_backbone_gives(name, depth):
    if name == "build_vit_backbone" and depth == "base":
        pytest.skip("as small: fastreid's ViT has one width, and cannot be built without memory")
    device = "cpu" if name == "build_vit_backbone" else "meta"
    for last_stride in (1, 2):
        cfg = get_cfg()
        add_fastreid_ext_config(cfg)
        size = {"INPUT__SIZE_TRAIN": [256, 128], "LAST_STRIDE": last_stride, "TOKENS": "patch"}
        cfg.merge_from_list(keys(name, depth, 1, **size))
        with torch.device(device), torch.no_grad():
            model = BACKBONE_REGISTRY.get(name)(cfg).eval()
            shape = model(torch.empty(1, 3, 256, 128)).shape
        assert shape[1] == FACTS[name].widths[depth]
        if FACTS[name].stride:
            assert shape[2] == map_rows(cfg, [256, 128])
        if "LAST_STRIDE" not in FACTS[name].reads:
            return


@pytest.mark.parametrize(
    ("name", "depth", "width"),
    [(RESNET, "18x", 512), (RESNET, "50x", 2048), (SWIN, "base", 1024), (CLIP, "base", 512)],
)
def test_width_is_filled_in(name, depth, width):
    size = sizes((256, 128))
    assert load_config("", keys(name, depth, **size)).MODEL.BACKBONE.FEAT_DIM == width
    assert load_config("", keys(name, depth, width, **size)).MODEL.BACKBONE.FEAT_DIM == width


def test_width_of_a_timm_model_is_filled_in_whatever_depth_says():
    cfg = load_config("", keys(TIMM, "50x", TIMM_NAME="convnext_atto"))
    assert cfg.MODEL.BACKBONE.FEAT_DIM == 320


@pytest.mark.parametrize(
    ("pool", "architecture", "tokens"),
    [
        ("GlobalAvgPool", "Baseline", "class"),
        ("GeneralizedMeanPooling", "Baseline", "patch"),
        ("GlobalMaxPool", "Baseline", "patch"),
        ("GlobalAvgPool", "MGN", "patch"),
    ],
)
def test_tokens_are_filled_in(pool, architecture, tokens):
    more = {"MODEL__HEADS__POOL_LAYER": pool, "MODEL__META_ARCHITECTURE": architecture}
    cfg = load_config("", keys(VIT, "tiny", **sizes((256, 128)), **more))
    assert cfg.MODEL.BACKBONE.TOKENS == tokens


GEM = {"MODEL__HEADS__POOL_LAYER": "GeneralizedMeanPoolingP"}
MGN = {"MODEL__META_ARCHITECTURE": "MGN"}
BDB = {"MODEL__META_ARCHITECTURE": "BDB", "MODEL__HEADS__NAME": "BDBHead"}
ONE_SIZE = sizes((256, 128))
TWO_SIZES = sizes((256, 128), (384, 128))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (keys(RESNET, "18x", 2048), "FEAT_DIM 512, the width of build_resnet_backbone 18x, got 20"),
        (keys(SWIN, "tiny", 96), "expected MODEL.BACKBONE.FEAT_DIM 768, the width of build_swin_b"),
        (
            keys(TIMM, "", 5, TIMM_NAME="resnet18"),
            "FEAT_DIM 512, the width of resnet18, got 5; 0 t",
        ),
        (
            keys(RESNET, "r50"),
            "unknown MODEL.BACKBONE.DEPTH 'r50' of build_resnet_backbone; known: 1",
        ),
        (keys(SWIN, "50x"), "DEPTH '50x' of build_swin_backbone; known: tiny, small, base"),
        (
            keys("build_resnext_backbone", "152x"),
            "DEPTH '152x' of build_resnext_backbone; known: 5",
        ),
        (
            keys("build_mobilenetv3_backbone", "large"),
            "'large' of build_mobilenetv3_backbone; known",
        ),
        (keys(TIMM, TIMM_NAME="convnext_tyni"), "did you mean 'convnext_tiny'"),
        (keys(TIMM), "MODEL.BACKBONE.TIMM_NAME is empty"),
        (
            keys(RESNET, "50x", TIMM_NAME="convnext_tiny"),
            "TIMM_NAME is convnext_tiny (default '') but is not read in this configuration, "
            "because MODEL.BACKBONE.NAME is build_resnet_backbone; remove it, or set "
            "MODEL.BACKBONE.NAME build_timm_backbone",
        ),
        (
            keys(VIT, "tiny", QUICK_GELU=False, **ONE_SIZE),
            "QUICK_GELU is False (default True) but is not read in this configuration, because",
        ),
        (
            keys(VIT, "tiny", **TWO_SIZES),
            "SIZE_TRAIN is [256, 128] and INPUT.SIZE_TEST [384, 128]; m",
        ),
        (
            keys("build_vit_backbone", "base", **TWO_SIZES),
            "build_vit_backbone takes images of one si",
        ),
        (
            keys(TIMM, TIMM_NAME="test_vit", **TWO_SIZES),
            "build_timm_backbone takes images of one size",
        ),
        (
            keys(VIT, "tiny", **sizes((250, 128))),
            "SIZE_TRAIN of multiples of 16, the patch of build",
        ),
        (
            keys(VIT, "tiny", **ONE_SIZE, INPUT__CROP__ENABLED=True),
            "INPUT.CROP cuts [224, 224] and INPUT.SIZE_TRAIN is [256, 128]; make them equal",
        ),
        (
            keys(VIT, "tiny", TOKENS="cls", **ONE_SIZE),
            "unknown name 'cls' in MODEL.BACKBONE.TOKENS; did you mean 'class'?",
        ),
        (
            keys(SWIN, "tiny", TOKENS="patch"),
            "TOKENS is patch (default '') but is not read in this configuration, because MODEL",
        ),
        (
            keys(SWIN, "tiny", FREEZE_PATCH_EMBED=True),
            "set MODEL.BACKBONE.NAME build_plain_vit_backbone or build_clip_vit_backbone",
        ),
        (
            keys(VIT, "tiny", STRIDE_SIZE=(12, 12), **ONE_SIZE),
            "STRIDE_SIZE is (12, 12) (default (16, 16)) but is not read in this",
        ),
        (
            keys(VIT, "tiny", SEMANTIC_WEIGHT=0.2, **ONE_SIZE),
            "set MODEL.BACKBONE.NAME build_swin_backbone",
        ),
        (
            keys(SWIN, "tiny", SEMANTIC_WEIGHT=1.2),
            "in [0, 1], or -1, got 1.2; -1 is a plain",
        ),
        (
            keys(SWIN, "tiny", DROP_PATH_RATIO=1.0),
            "expected MODEL.BACKBONE.DROP_PATH_RATIO in [0, 1)",
        ),
        (
            keys(VIT, "tiny", TOKENS="class", **ONE_SIZE, **GEM),
            "TOKENS class gives a map of 1 x 1, but MODEL.HEADS.POOL_LAYER GeneralizedMeanPoolingP",
        ),
        (
            keys("build_osnet_backbone", "x1_0", **MGN),
            "does not go with MODEL.META_ARCHITECTURE MGN: ",
        ),
        (keys(RESNET, "34x", **MGN), "have none; set MODEL.BACKBONE.DEPTH 50x"),
        (keys("build_vit_backbone", "base", **ONE_SIZE, **GEM), "NAME build_plain_vit_backbone"),
        (
            keys(SWIN, "tiny", **MGN, **sizes((128, 64))),
            "3 or at least 5 rows, to cut 3 stripes, but",
        ),
        (
            keys(SWIN, "tiny", **BDB, **sizes((64, 32))),
            "BDB needs a map of 3 rows or more, but INPUT.SIZE_TRAIN [64, 32] gives 2 with build_s",
        ),
        (
            keys(TIMM, TIMM_NAME="resnet18", **BDB, **sizes((96, 48), (64, 32))),
            "but INPUT.SIZE_TEST [64, 32] gives 2 with build_timm_backbone; take higher images",
        ),
    ],
)
def test_mistakes_are_refused_before_a_run(overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_config("", overrides)


@pytest.mark.parametrize("height", [80, 96, 160])
def test_mgn_of_a_resnet_wants_five_rows_or_three(height):
    """Of stride 16 in the branches that are cut, whatever LAST_STRIDE; 64 pixels fail."""
    more = MGN | sizes((height, 32))
    assert load_config("", keys(RESNET, "50x", LAST_STRIDE=2, **more))
    with pytest.raises(ValueError, match=r"INPUT\.SIZE_TRAIN \[64, 32\] gives 4 with"):
        load_config("", keys(RESNET, "50x", **MGN, **sizes((64, 32))))


def test_backbone_of_a_user_says_its_width_itself():
    @BACKBONE_REGISTRY.register()
    def build_backbone_of_a_user(cfg):
        pass

    name = "build_backbone_of_a_user"
    try:
        assert load_config("", keys(name, feat_dim=77)).MODEL.BACKBONE.FEAT_DIM == 77
        with pytest.raises(ValueError, match="FEAT_DIM is 0, and the width of build_ba"):
            load_config("", keys(name))
    finally:
        del BACKBONE_REGISTRY._obj_map[name]


def test_unknown_backbone_is_one_problem_not_two():
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_swim_backbone"
    assert backbone_problems(cfg) == []
    with pytest.raises(ValueError, match="did you mean 'build_swin_backbone'"):
        load_config("", keys("build_swim_backbone"))


@pytest.mark.parametrize(
    ("backbone", "depth", "more", "unread"),
    [
        (RESNET, "50x", {}, []),
        (RESNET, "18x", {}, ["WITH_NL"]),
        (RESNET, "50x", MGN, ["WITH_NL"]),
        ("build_osnet_backbone", "x1_0", {}, ["LAST_STRIDE", "WITH_SE", "WITH_NL"]),
        (SWIN, "tiny", {}, ["LAST_STRIDE", "NORM", "WITH_IBN", "WITH_SE", "WITH_NL"]),
    ],
)
def test_keys_of_resnets_that_another_backbone_does_not_read(backbone, depth, more, unread):
    cfg = load_config("", keys(backbone, depth, **more)).clone()
    cfg.defrost()
    values = {"LAST_STRIDE": 2, "NORM": "syncBN", "WITH_IBN": True, "WITH_SE": True}
    cfg.MODEL.BACKBONE.update(values | {"WITH_NL": True})
    assert unread_keys(cfg) == [f"MODEL.BACKBONE.{key}" for key in unread]
