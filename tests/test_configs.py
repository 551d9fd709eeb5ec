"""Every configuration file loads; every recipe builds, steps and evaluates."""

import itertools
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine.camera_curriculum import stage_lengths
from fastreid_ext.modeling.build import build_model
from fastreid_ext.modeling.meta_arch import add_losses, add_view_losses
from fastreid_ext.modeling.meta_arch.cluster_baseline import takes_clusters

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = REPOSITORY / "configs"
PROJECTS = REPOSITORY / "projects"
FILES = sorted([*CONFIGS.rglob("*.yml"), *PROJECTS.rglob("*.yml")])
BASES = sorted(path for path in FILES if path.name.startswith("Base-"))
BASE_OF = {path.stem.removeprefix("Base-"): path for path in BASES}
CPU = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
ARCHITECTURES = {
    *("Baseline", "PrototypeBaseline", "MGN", "BDB"),
    *("ClusterBaseline", "ClusterContrast", "HHCL", "SpCL"),
    *("DomainBaseline", "IDM", "CaCL", "HCD", "UNRN", "GLT"),
    *("ICE", "PPLR"),
    *("ContrastivePretrain", "SimCLRPretrain", "BYOLPretrain"),
}
DCAC = ["DCAC-baseline", "DCAC"]
CIL = ["bagtricks-CIL", "AGW-CIL"]
VISIBLE_INFRARED = ["AGW-VI", "CIL-VI", "CAJ"]
UNSUPERVISED = ["DBSCAN", "ClusterContrast", "HHCL", "ICE", "SpCL", "PPLR"]
ADAPTIVE = ["DBSCAN-DA", "IDM", "CaCL", "HCD", "UNRN", "UNRN-code", "GLT"]
GENERALISING = ["MetaBIN"]
PRETRAINING = ["DAPG-stage1", "DAPG-stage2", "SimCLR", "BYOL", "classification-pretrain"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_loads(path):
    cfg = load_config(path, CPU)
    assert cfg.MODEL.META_ARCHITECTURE in ARCHITECTURES
    if path not in BASES:
        assert cfg.OUTPUT_DIR != "logs/", f"{path}: runs of different recipes would share a folder"


def test_recipes_have_the_published_values():
    """Spot checks against the papers and fastreid's model zoo."""
    recipes = {name: load_config(path, CPU) for name, path in BASE_OF.items()}
    assert set(recipes) == {
        "bagtricks",
        "AGW",
        "SBS",
        "MGN",
        "BDB",
        *CIL,
        *DCAC,
        *VISIBLE_INFRARED,
        "DiffID",
        "augment",
        "generator",
        *UNSUPERVISED,
        *ADAPTIVE,
        "DA-source",
        *GENERALISING,
        *PRETRAINING,
    }
    bagtricks = recipes["bagtricks"]
    agw = recipes["AGW"]
    sbs = recipes["SBS"]
    mgn = recipes["MGN"]
    assert (bagtricks.SOLVER.BASE_LR, bagtricks.SOLVER.STEPS) == (3.5e-4, [40, 90])
    assert bagtricks.MODEL.LOSSES.TRI.MARGIN == 0.3
    assert bagtricks.MODEL.BACKBONE.LAST_STRIDE == 1
    assert agw.MODEL.HEADS.POOL_LAYER == "GeneralizedMeanPooling"
    assert agw.MODEL.BACKBONE.WITH_NL
    assert not agw.MODEL.LOSSES.TRI.HARD_MINING
    assert (sbs.INPUT.SIZE_TRAIN, sbs.SOLVER.SCHED) == ([384, 128], "CosineAnnealingLR")
    assert (mgn.MODEL.META_ARCHITECTURE, mgn.MODEL.HEADS.EMBEDDING_DIM) == ("MGN", 256)


def test_bdb_has_the_published_values():
    cfg = load_config(BASE_OF["BDB"], CPU)
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE.LAST_STRIDE) == ("BDB", 1)
    losses = cfg.MODEL.LOSSES
    assert (losses.TRI.MARGIN, losses.TRI.HARD_MINING, losses.TRI.NORM_FEAT) == (0.0, True, False)
    assert (losses.CE.EPSILON, losses.CE.SCALE, losses.TRI.SCALE) == (0.1, 1.0, 1.0)
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [384, 128]
    switches = {key: cfg.INPUT[key].ENABLED for key in ("FLIP", "REA", "PADDING", "CUTOUT")}
    assert switches == {"FLIP": True, "REA": False, "PADDING": False, "CUTOUT": False}
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE) == (128, 4)
    assert (cfg.SOLVER.OPT, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.MAX_EPOCH) == ("Adam", 5e-4, 400)
    assert (cfg.TEST.METRIC, cfg.TEST.FLIP.ENABLED) == ("euclidean", False)
    assert load_config(
        PROJECTS / "BDB/configs/Market1501/bdb_cut_R50.yml", CPU
    ).INPUT.CUTOUT.ENABLED


def test_transformers_have_the_published_values():
    """SOLIDER-REID's configuration of Swin-T; the baseline of CLIP-ReID."""
    solider = load_config(PROJECTS / "SOLIDER/configs/Market1501/solider_swin-T.yml", CPU)
    assert solider.INPUT.SIZE_TRAIN == solider.INPUT.SIZE_TEST == [384, 128]
    assert (solider.SOLVER.OPT, solider.SOLVER.BASE_LR) == ("SGD", 8e-4)
    assert (solider.SOLVER.MAX_EPOCH, solider.SOLVER.SCHED) == (120, "CosineAnnealingLR")
    assert (solider.SOLVER.IMS_PER_BATCH, solider.DATALOADER.NUM_INSTANCE) == (64, 4)
    assert (solider.MODEL.LOSSES.TRI.MARGIN, solider.MODEL.LOSSES.TRI.HARD_MINING) == (0.0, True)
    assert solider.MODEL.LOSSES.CE.EPSILON == 0.0
    assert solider.MODEL.PIXEL_MEAN == solider.MODEL.PIXEL_STD == [127.5] * 3
    assert solider.MODEL.BACKBONE.SEMANTIC_WEIGHT == 0.2
    assert solider.MODEL.HEADS.NAME == "BeforeNeckHead"
    assert solider.SOLVER.WARMUP_ITERS == 20 * (12936 // 64)
    msmt17 = load_config(PROJECTS / "SOLIDER/configs/MSMT17/solider_swin-T.yml", CPU)
    assert msmt17.SOLVER.WARMUP_ITERS == 20 * (30248 // 64)
    clip = load_config(CONFIGS / "Market1501/bagtricks_clip-vit-b16.yml", CPU)
    assert (clip.SOLVER.OPT, clip.SOLVER.BASE_LR, clip.SOLVER.STEPS) == ("Adam", 5e-6, [30, 50])
    assert (clip.MODEL.BACKBONE.FEAT_DIM, clip.MODEL.BACKBONE.TOKENS) == (512, "class")


def test_dcac_has_the_published_values():
    """Values of the authors' code: optimizer, schedule, rank and temperature by source."""
    base = load_config(BASE_OF["DCAC"], CPU)
    solver = base.SOLVER
    assert (solver.OPT, solver.BASE_LR, solver.MAX_EPOCH) == ("Adam", 5e-6, 60)
    assert (solver.STEPS, solver.GAMMA, solver.WARMUP_EPOCHS) == ([30, 50], 0.1, 10)
    assert (solver.WARMUP_FACTOR, solver.WEIGHT_DECAY) == (0.1, 1e-4)
    assert (solver.WEIGHT_DECAY_BIAS, solver.WEIGHT_DECAY_NORM, solver.BIAS_LR_FACTOR) == (
        1e-4,
        1e-4,
        1.0,
    )
    assert (solver.IMS_PER_BATCH, base.DATALOADER.NUM_INSTANCE) == (64, 4)
    assert base.MODEL.PIXEL_MEAN == base.MODEL.PIXEL_STD == [127.5] * 3
    assert base.MODEL.LOSSES.NAME == ("CrossEntropyLoss", "PrototypeContrastLoss")
    assert (base.MODEL.LOSSES.CE.EPSILON, base.INPUT.CLEAN_VIEW.SIZE) == (0.1, [128, 128])
    prototype = base.MODEL.LOSSES.PROTOTYPE
    assert (prototype.SCALE, prototype.TEMPERATURE, prototype.MOMENTUM) == (1.0, 0.01, 0.2)
    assert base.MODEL.BACKBONE.FREEZE_PATCH_EMBED
    published = {
        "Market1501": (8, 0.6),
        "DukeMTMC": (8, 0.6),
        "CUHK03": (8, 0.1),
        "MSMT17": (32, 1.0),
        "DukeMTMC+MSMT17+CUHK03": (32, 1.0),
    }
    for source, values in published.items():
        branch = load_config(PROJECTS / f"DCAC/configs/{source}/DCAC.yml", CPU).MODEL.DIFFUSION
        assert (branch.ENABLED, branch.UNET, branch.CONDITION) == (True, "lora", "correlation")
        assert (branch.SCALE, branch.RANK, branch.TEMPERATURE) == (1.0, *values)


@pytest.mark.parametrize("name", CIL)
def test_cil_has_the_published_values(name):
    """Three views, 12 times the JS divergence; everything else is the baseline's."""
    cfg = load_config(BASE_OF[name], CPU)
    base = load_config(BASE_OF[name.removesuffix("-CIL")], CPU)
    losses = cfg.MODEL.LOSSES
    inputs = cfg.INPUT
    assert losses.NAME == ("CrossEntropyLoss", "TripletLoss", "JSConsistencyLoss")
    assert (losses.JS.SCALE, inputs.VIEWS.SUPERVISED) == (12.0, "clean")
    assert (inputs.VIEWS.RECIPE, inputs.VIEWS.COUNT) == ("cil", 3)
    assert (inputs.SOFT_ERASING.PROB, inputs.SOFT_ERASING.BETA) == (0.5, [0.5, 1.0])
    assert (inputs.PATCH_MIXING.PROB, inputs.PATCH_MIXING.BETA) == (0.5, [0.5, 1.0])
    augmix = inputs.AUGMIX
    assert (augmix.SEVERITY, augmix.WIDTH, augmix.DEPTH, augmix.ALPHA) == (3, 3, -1, 1.0)
    for section in ("SOLVER", "DATALOADER", "TEST"):
        assert cfg[section] == base[section]
    assert cfg.MODEL.BACKBONE == base.MODEL.BACKBONE
    assert cfg.MODEL.LOSSES.TRI == base.MODEL.LOSSES.TRI


def test_cil_for_two_modalities_is_cil_on_agw_for_two_modalities():
    """81 epochs; the augmentations of CIL, and everything else of AGW-VI."""
    cfg = load_config(BASE_OF["CIL-VI"], CPU)
    cil = load_config(BASE_OF["AGW-CIL"], CPU)
    base = load_config(BASE_OF["AGW-VI"], CPU)
    names = ("CrossEntropyLoss", "WeightedTripletLoss", "JSConsistencyLoss")
    assert cfg.MODEL.LOSSES.NAME == names
    assert cfg.MODEL.LOSSES.JS == cil.MODEL.LOSSES.JS
    for key in ("VIEWS", "SOFT_ERASING", "PATCH_MIXING", "AUGMIX"):
        assert cfg.INPUT[key] == cil.INPUT[key]
    for key in ("SIZE_TRAIN", "PADDING", "REA"):
        assert cfg.INPUT[key] == base.INPUT[key]
    assert cfg.MODEL.BACKBONE == base.MODEL.BACKBONE
    assert cfg.MODEL.LOSSES.WEIGHTED_TRIPLET == base.MODEL.LOSSES.WEIGHTED_TRIPLET
    assert (cfg.SOLVER.MAX_EPOCH, base.SOLVER.MAX_EPOCH) == (81, 80)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS) == (base.SOLVER.BASE_LR, base.SOLVER.STEPS)
    assert cfg.DATALOADER == base.DATALOADER


def test_visible_infrared_agw_has_the_published_values():
    """8 identities of 4 + 4 images, SGD with a tenth of the rate for the backbone."""
    cfg = load_config(BASE_OF["AGW-VI"], CPU)
    backbone = cfg.MODEL.BACKBONE
    assert backbone.NAME == "build_two_stream_resnet_backbone"
    assert (backbone.WITH_NL, backbone.LAST_STRIDE, backbone.FEAT_DIM) == (True, 1, 2048)
    losses = cfg.MODEL.LOSSES
    assert losses.NAME == ("CrossEntropyLoss", "WeightedTripletLoss")
    assert (losses.CE.EPSILON, losses.WEIGHTED_TRIPLET.SQUARED) == (0, False)
    assert cfg.DATALOADER.SAMPLER_TRAIN == "CrossModalitySampler"
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE) == (64, 8)
    solver = cfg.SOLVER
    assert (solver.OPT, solver.MOMENTUM, solver.NESTEROV) == ("SGD", 0.9, True)
    assert (solver.BASE_LR, solver.WEIGHT_DECAY) == (0.1, 5e-4)
    assert [dict(group) for group in solver.PARAM_GROUPS] == [
        {"name": "backbone", "lr_factor": 0.1}
    ]
    assert (solver.MAX_EPOCH, solver.WARMUP_EPOCHS, solver.STEPS) == (80, 10, [20, 50])
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [288, 144]
    assert (cfg.INPUT.REA.ENABLED, cfg.INPUT.PADDING.SIZE) == (False, 10)


def test_caj_differs_from_agw_in_streams_and_triplets_alone():
    """Erasing with probability 0.5, one of three channels, adaptive grey for infrared images."""
    cfg = load_config(BASE_OF["CAJ"], CPU)
    base = load_config(BASE_OF["AGW-VI"], CPU)
    assert cfg.MODEL.LOSSES.NAME == base.MODEL.LOSSES.NAME
    weighted = cfg.MODEL.LOSSES.WEIGHTED_TRIPLET
    assert (weighted.SQUARED, weighted.CLAMP) == (True, 88.0)
    views = cfg.INPUT.VIEWS
    assert (views.RECIPE, views.SUPERVISED, views.CROP) == ("caj", "all", "")
    channel = cfg.INPUT.CHANNEL
    assert (channel.PROB, channel.ERASING_PROB) == (1.0, 0.5)
    assert channel.MODES == ["erasing", "exchange"]
    assert channel.INFRARED_MODES == ["erasing", "adaptive_gray"]
    for section in ("SOLVER", "DATALOADER", "TEST", "MODEL.BACKBONE", "MODEL.HEADS"):
        ours = cfg
        theirs = base
        for part in section.split("."):
            ours = ours[part]
            theirs = theirs[part]
        assert ours == theirs


@pytest.mark.parametrize("name", ["DBSCAN", "ClusterContrast", "HHCL"])
def test_methods_without_labels_share_schedule_and_neighbours(name):
    """Adam without warm-up, a tenth of the rate every 20 epochs; k1 30, k2 6, cores of 4."""
    cfg = load_config(BASE_OF[name], CPU)
    solver = cfg.SOLVER
    assert (solver.OPT, solver.BASE_LR, solver.WEIGHT_DECAY) == ("Adam", 3.5e-4, 5e-4)
    assert (solver.STEPS, solver.GAMMA, solver.WARMUP_ITERS) == ([20, 40], 0.1, 0)
    assert not solver.AMP.ENABLED
    keys = cfg.UNSUPERVISED
    assert (keys.ENABLED, keys.K1, keys.K2, keys.MIN_SAMPLES) == (True, 30, 6, 4)
    sampler = "OtherCameraSampler" if name == "SpCL" else "BalancedIdentitySampler"
    assert cfg.DATALOADER.SAMPLER_TRAIN == sampler
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [256, 128]
    images = (64, 4, 16) if name in ("DBSCAN", "SpCL") else (256, 16, 64)
    assert (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.MODEL.BN_GROUP) == images


@pytest.mark.parametrize("name", ADAPTIVE)
def test_methods_with_a_source_share_batches_and_norms(name):
    """64 + 64 images, each 16 identities of 4; statistics of 16 images of a domain."""
    cfg = load_config(BASE_OF[name], CPU)
    images = (cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.MODEL.BN_GROUP)
    assert images == (128, 4, 16)
    assert (cfg.MODEL.DOMAIN_BN.ENABLED, cfg.MODEL.DOMAIN_BN.NECK_BIAS) == (
        True,
        "trained" if name == "UNRN-code" else "frozen",
    )
    losses = cfg.MODEL.LOSSES
    if name == "GLT":
        assert (losses.CE.EPSILON, losses.TRI.MARGIN, losses.TRI.HARD_MINING) == (0.1, 0.0, True)
    elif name not in ("HCD", "UNRN", "UNRN-code"):
        assert (losses.CE.EPSILON, losses.TRI.MARGIN, losses.TRI.HARD_MINING) == (0.1, 0.3, True)
    keys = cfg.UNSUPERVISED
    neighbours = (20, 6, 0.6, 3) if name == "HCD" else (30, 6, 0.6, 4)
    assert (keys.K1, keys.K2, keys.EPS, keys.MIN_SAMPLES) == neighbours
    iterations = 300 if name in ("UNRN", "UNRN-code", "GLT") else 400
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.ITERS_PER_EPOCH) == (3.5e-4, iterations)


def test_idm_has_the_published_values():
    """The module behind the stem, mu 0.7, 0.1 and 1.0, and a bank of all training images."""
    cfg = load_config(BASE_OF["IDM"], CPU)
    losses = cfg.MODEL.LOSSES
    names = ("CrossEntropyLoss", "TripletLoss", "BankTripletLoss", "BridgeLoss")
    assert (cfg.MODEL.IDM.STAGE, losses.NAME) == (0, names)
    bridge = losses.BRIDGE
    weights = (bridge.PREDICTION_WEIGHT, bridge.FEATURE_WEIGHT, bridge.DIVERSITY_WEIGHT)
    assert weights == (0.7, 0.1, 1.0)
    assert (losses.BANK_TRIPLET.RATIO, losses.BANK_TRIPLET.CLEAN) == (1.0, True)
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA) == (50, [20, 40], 0.1)


def test_rate_of_cacl_falls_in_the_last_stage():
    """The last stage begins with epoch 20 for the 6 cameras of Market-1501 and MSMT17's 15."""
    cfg = load_config(BASE_OF["CaCL"], CPU)
    keys = cfg.UNSUPERVISED.CURRICULUM
    assert (keys.ENABLED, keys.ORDER, keys.KERNEL) == (True, "updated", "gaussian")
    for cameras in (6, 15):
        lengths = stage_lengths(cameras, cfg.SOLVER.MAX_EPOCH, keys.EARLY_SHARE)
        assert lengths[-1] == 30
    assert cfg.SOLVER.STEPS == [40]
    assert cfg.MODEL.LOSSES.NAME == ("CrossEntropyLoss",)


def test_recipes_of_hcd_have_the_values_of_its_demonstration():
    """A learned GeM, 60 epochs, noise kept; 64 neighbours, 20 of them linked; 800 for MSMT17."""
    folder = PROJECTS / "DomainAdaptation/configs"
    for pair, iterations in (("MSMT17_to_Market1501", 400), ("Market1501_to_MSMT17", 800)):
        cfg = load_config(folder / pair / "hcd_R50.yml", CPU)
        heads = cfg.MODEL.HEADS
        assert (heads.POOL_LAYER, heads.NECK_FEAT) == ("GeneralizedMeanPoolingP", "after")
        assert (cfg.SOLVER.ITERS_PER_EPOCH, cfg.SOLVER.MAX_EPOCH) == (iterations, 60)
        assert (cfg.SOLVER.STEPS, cfg.UNSUPERVISED.OUTLIERS) == ([20, 40], "kept")
        keys = cfg.MODEL.HCD
        assert (keys.NEIGHBOURS, keys.LINKED, keys.GROUPS_LINKED) == (64, 20, 30)
        assert (keys.FLOOR, keys.THRESHOLD, keys.PARTS) == (0.45, 0.25, 8)
        loss = cfg.MODEL.LOSSES.INSTANCE_CONTRAST
        assert (loss.TEMPERATURE, loss.MOMENTUM) == (0.05, 0.2)


def test_recipes_of_unrn_have_the_values_of_its_code_in_two_forms():
    """A constant rate, clusters for 6 epochs; the code has GeM, non-local blocks, more heads."""
    paper = load_config(BASE_OF["UNRN"], CPU)
    code = load_config(BASE_OF["UNRN-code"], CPU)
    for cfg in (paper, code):
        assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS, cfg.UNSUPERVISED.PERIOD) == (200, [], 6)
        keys = cfg.MODEL.UNRN
        assert (keys.MEMORY, keys.MOMENTUM, keys.CENTRE_MOMENTUM) == (8192, 0.999, 0.2)
        losses = cfg.MODEL.LOSSES.UNRN
        assert (losses.MARGIN, losses.GAMMA, losses.CONTRAST_SCALE) == (0.25, 128.0, 0.05)
        assert abs(losses.CENTRE_SCALE - 1 / 18) < 1e-4
        assert (losses.TRIPLET_SCALE, losses.UNCERTAINTY_SCALE) == (1.0, 1.0)
    differing = [
        (
            *(cfg.MODEL.UNRN.FORM, cfg.MODEL.UNRN.SIDE_HEAD, cfg.MODEL.UNRN.MEMORY_HEAD),
            *(cfg.MODEL.HEADS.POOL_LAYER, cfg.MODEL.HEADS.NECK_FEAT, cfg.MODEL.BACKBONE.WITH_NL),
            *(cfg.MODEL.LOSSES.UNRN.SOURCE_SCALE, cfg.MODEL.LOSSES.UNRN.SMOOTHING),
        )
        for cfg in (paper, code)
    ]
    assert differing == [
        ("paper", False, False, "GlobalAvgPool", "after", False, 1.0, 0.1),
        ("code", True, True, "GeneralizedMeanPoolingP", "before", True, 0.0, 0.0),
    ]


def test_recipes_of_glt_have_the_values_of_its_last_run():
    """79 epochs of 300 iterations; 600, 700 and 800 clusters for Market-1501."""
    folder = PROJECTS / "DomainAdaptation/configs"
    cfg = load_config(folder / "MSMT17_to_Market1501/glt_R50.yml", CPU)
    keys = cfg.MODEL.GLT
    assert (keys.CLUSTERS, keys.CHOSEN, keys.SHARPNESS) == ([600, 700, 800], 1, 25.0)
    assert (keys.DROPOUT, keys.MOMENTUM, keys.PREVIOUS_RUN) == (0.2, 0.999, "")
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS) == (79, [40, 70])
    assert cfg.MODEL.BACKBONE.WITH_NL
    assert cfg.MODEL.HEADS.POOL_LAYER == "GeneralizedMeanPoolingP"
    larger = load_config(folder / "Market1501_to_MSMT17/glt_R50.yml", CPU)
    assert larger.MODEL.GLT.CLUSTERS == [1000, 1500, 2000]


def test_first_stage_on_the_source_has_the_values_of_unrn():
    """80 epochs of 200 iterations, soft triplets, no erasing."""
    cfg = load_config(BASE_OF["DA-source"], CPU)
    solver = cfg.SOLVER
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.INPUT.REA.ENABLED) == ("Baseline", False)
    assert (solver.MAX_EPOCH, solver.ITERS_PER_EPOCH, solver.STEPS) == (80, 200, [40, 70])
    assert (solver.WARMUP_EPOCHS, solver.WARMUP_FACTOR, solver.IMS_PER_BATCH) == (10, 0.01, 64)
    triplet = cfg.MODEL.LOSSES.TRI
    assert (triplet.MARGIN, triplet.HARD_MINING, cfg.MODEL.LOSSES.CE.EPSILON) == (0.0, True, 0.1)


def test_recipes_of_hhcl_have_the_published_values():
    """Average pooling, eps 0.45 for Market-1501, the author's values for MSMT17, code weights."""
    market = load_config(PROJECTS / "Unsupervised/configs/Market1501/hhcl_R50.yml", CPU)
    msmt17 = load_config(PROJECTS / "Unsupervised/configs/MSMT17/hhcl_R50.yml", CPU)
    for cfg, eps, iterations in ((market, 0.45, 200), (msmt17, 0.7, 300)):
        assert (cfg.UNSUPERVISED.EPS, cfg.SOLVER.ITERS_PER_EPOCH) == (eps, iterations)
        assert (cfg.MODEL.HEADS.POOL_LAYER, cfg.SOLVER.MAX_EPOCH) == ("GlobalAvgPool", 60)
        keys = cfg.MODEL.LOSSES.HYBRID_CONTRAST
        assert (keys.HARD_WEIGHT, keys.MEAN_WEIGHT, keys.MOMENTUM) == (0.5, 0.25, 0.1)


def test_ice_has_the_published_values():
    """8 identities of 4 images in groups of 8; the rate rises for 10 of 40 epochs and stays."""
    cfg = load_config(BASE_OF["ICE"], CPU)
    solver = cfg.SOLVER
    assert (solver.OPT, solver.BASE_LR, solver.WEIGHT_DECAY) == ("Adam", 3.5e-4, 5e-4)
    assert (solver.STEPS, solver.WARMUP_FACTOR) == ([], 0.1)
    assert (solver.WARMUP_EPOCHS, solver.ITERS_PER_EPOCH) == (10, 400)
    assert (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.MODEL.BN_GROUP) == (32, 4, 8)
    keys = cfg.UNSUPERVISED
    assert (keys.EPS, keys.K1, keys.K2, keys.MIN_SAMPLES) == (0.55, 30, 6, 4)
    ice = cfg.MODEL.LOSSES.ICE
    assert (ice.PROXY_TEMPERATURE, ice.SMOOTHING) == (0.5, 0.1)
    assert (ice.HARD_TEMPERATURE, ice.SOFT_TEMPERATURE, ice.SOFT_SCALE) == (0.1, 0.4, 10.0)
    camera = cfg.MODEL.LOSSES.CAMERA_PROXY
    assert (camera.SCALE, camera.TEMPERATURE, camera.NEGATIVES) == (0.5, 0.07, 50)
    inputs = cfg.INPUT
    assert (inputs.BLUR.PROB, inputs.BLUR.SIGMA, inputs.REA.PROB) == (0.5, [0.1, 2.0], 0.6)
    assert (cfg.MODEL.ICE.MOMENTUM, solver.MAX_EPOCH) == (0.999, 40)
    agnostic = PROJECTS / "Unsupervised/configs/MSMT17/ice_agnostic_R50.yml"
    assert load_config(agnostic, CPU).MODEL.LOSSES.NAME == ("ICELoss",)


def test_recipes_of_spcl_have_the_published_values():
    """eps 0.6 and 0.02 around it, momentum 0.2, average pooling; 800 iterations for MSMT17."""
    market = load_config(PROJECTS / "Unsupervised/configs/Market1501/spcl_R50.yml", CPU)
    msmt17 = load_config(PROJECTS / "Unsupervised/configs/MSMT17/spcl_R50.yml", CPU)
    for cfg, iterations in ((market, 400), (msmt17, 800)):
        keys = cfg.UNSUPERVISED
        assert (keys.EPS, keys.EPS_GAP, keys.OUTLIERS) == (0.6, 0.02, "kept")
        loss = cfg.MODEL.LOSSES.INSTANCE_CONTRAST
        assert (loss.TEMPERATURE, loss.MOMENTUM) == (0.05, 0.2)
        assert (cfg.MODEL.HEADS.POOL_LAYER, cfg.SOLVER.MAX_EPOCH) == ("GlobalAvgPool", 50)
        assert cfg.SOLVER.ITERS_PER_EPOCH == iterations


def test_pplr_has_the_published_values():
    """16 identities of 4 images in groups of 16, higher images; eps and weight by data set."""
    cfg = load_config(BASE_OF["PPLR"], CPU)
    solver = cfg.SOLVER
    assert (solver.OPT, solver.BASE_LR, solver.WEIGHT_DECAY) == ("Adam", 3.5e-4, 5e-4)
    assert (solver.STEPS, solver.GAMMA, solver.WARMUP_ITERS) == ([20, 40], 0.1, 0)
    assert (solver.ITERS_PER_EPOCH, solver.MAX_EPOCH) == (400, 50)
    assert (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.MODEL.BN_GROUP) == (64, 4, 16)
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [384, 128]
    keys = cfg.MODEL.LOSSES.PPLR
    assert (keys.BETA, keys.NEIGHBOURS, keys.START_EPOCH, keys.SMOOTHING) == (0.5, 20, 5, 0.1)
    camera = cfg.MODEL.LOSSES.CAMERA_PROXY
    assert (camera.TEMPERATURE, camera.NEGATIVES, cfg.MODEL.HEADS.STRIPES) == (0.07, 50, 3)
    folder = PROJECTS / "Unsupervised/configs"
    for name, eps, scale in (("Market1501", 0.4, 0.5), ("MSMT17", 0.6, 1.0)):
        aware = load_config(folder / name / "pplr_R50.yml", CPU)
        assert (aware.UNSUPERVISED.EPS, aware.MODEL.LOSSES.CAMERA_PROXY.SCALE) == (eps, scale)
        agnostic = load_config(folder / name / "pplr_agnostic_R50.yml", CPU)
        assert (agnostic.UNSUPERVISED.EPS, agnostic.MODEL.LOSSES.NAME) == (0.5, ("PPLRLoss",))


def test_stage_1_of_dapg_has_the_published_values():
    cfg = load_config(BASE_OF["DAPG-stage1"], CPU)
    losses = cfg.MODEL.LOSSES
    contrastive = losses.MULTI_POSITIVE
    assert (contrastive.SCALE, losses.JS.SCALE, contrastive.TEMPERATURE) == (0.5, 0.5, 0.7)
    heads = cfg.MODEL.HEADS
    assert (heads.PROJECTION.HIDDEN_DIM, heads.EMBEDDING_DIM) == (2048, 128)
    assert (cfg.MODEL.MOCO.MOMENTUM, cfg.MODEL.MOCO.QUEUE) == (0.999, 0)
    solver = cfg.SOLVER
    assert (solver.OPT, solver.BASE_LR, solver.MOMENTUM) == ("SGD", 0.0075, 0.9)
    assert (solver.IMS_PER_BATCH, solver.MAX_EPOCH) == (64, 300)
    assert solver.SCHED == "CosineAnnealingLR"
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.CROP.SIZE == [256, 128]
    corruption = cfg.INPUT.CORRUPTION
    assert (corruption.NAMES, corruption.SEVERITIES) == ([], [1, 2, 3, 4, 5])


def test_stage_1_of_dapg_differs_in_the_optimizer_alone():
    folder = "projects/DAPG/configs/LUPerson"
    ours = load_config(f"{folder}/dapg_stage1_R50.yml", [*CPU, "DATASETS.TESTS", "()"])
    printed = load_config(f"{folder}/dapg_stage1_R50_adam.yml", [*CPU, "DATASETS.TESTS", "()"])
    assert (printed.SOLVER.OPT, printed.SOLVER.BASE_LR) == ("Adam", 0.0075)
    printed.defrost()
    printed.SOLVER.OPT = "SGD"
    printed.OUTPUT_DIR = ours.OUTPUT_DIR
    assert dict(printed) == dict(ours)


def test_classification_pretraining_has_the_published_values():
    """The paper prints these values; the rest is ConvNeXt's recipe."""
    cfg = load_config(BASE_OF["classification-pretrain"], CPU)
    solver = cfg.SOLVER
    inputs = cfg.INPUT
    assert (solver.OPT, solver.BASE_LR, solver.WEIGHT_DECAY) == ("AdamW", 4e-3, 0.05)
    assert (solver.MAX_EPOCH, solver.WARMUP_EPOCHS, solver.IMS_PER_BATCH) == (300, 20, 512)
    assert (solver.SCHED, solver.ETA_MIN_LR) == ("CosineAnnealingLR", 1e-6)
    assert (inputs.MIXUP.ENABLED, inputs.CUTMIX.ENABLED) == (True, True)
    assert (inputs.MIXUP.ALPHA, inputs.CUTMIX.ALPHA) == (0.8, 1.0)
    assert inputs.MIXUP.PROB == inputs.CUTMIX.PROB == 0.5
    assert (inputs.RANDAUGMENT.ENABLED, inputs.RANDAUGMENT.TIMM) == (True, "rand-m9-mstd0.5-inc1")
    erasing = inputs.SOFT_ERASING
    assert (erasing.ENABLED, erasing.PROB, erasing.BETA) == (True, 0.25, [1.0, 0.0])
    assert cfg.MODEL.LOSSES.NAME == ("CrossEntropyLoss",)
    assert cfg.MODEL.LOSSES.CE.EPSILON == 0.1
    assert inputs.SIZE_TRAIN == [256, 128]
    assert (cfg.DATASETS.GENERATED.PERSON_IDS, cfg.MODEL.BACKBONE.PRETRAIN) == ("new", False)


def test_the_papers_generation_has_the_printed_values():
    paper = load_config(PROJECTS / "DiffusionReID/configs/generate_paper.yml", CPU).GENERATION
    tuning = paper.FINE_TUNING
    assert (paper.BASE_MODEL, paper.SIZE) == ("CompVis/stable-diffusion-v1-4", [512, 512])
    assert (tuning.METHOD, tuning.STEPS, tuning.BASE_LR) == ("full", 1000, 2e-6)
    assert (paper.REFERENCE_SET.IMAGES, tuning.PRIOR_WEIGHT) == (200, 1.0)
    assert paper.SAMPLING.SAVE_SIZE == [256, 128]


def test_diff_id_has_the_published_values():
    """The values that the paper prints; the rest is off."""
    cfg = load_config(BASE_OF["DiffID"], CPU)
    solver = cfg.SOLVER
    assert solver.IMS_PER_BATCH == 32 * 8
    assert cfg.DATALOADER.NUM_INSTANCE == 8
    assert (solver.OPT, solver.BASE_LR, solver.HEADS_LR_FACTOR) == ("Adam", 1e-5, 10.0)
    assert solver.ITERS_PER_EPOCH * solver.MAX_EPOCH == 20_000
    losses = cfg.MODEL.LOSSES
    assert losses.NAME == ("CrossEntropyLoss", "TripletLoss")
    assert (losses.TRI.MARGIN, losses.TRI.HARD_MINING, losses.CE.EPSILON) == (0.5, True, 0.0)
    assert not cfg.MODEL.HEADS.WITH_BNNECK
    switches = {key: cfg.INPUT[key].ENABLED for key in ("FLIP", "REA", "PADDING", "CUTOUT")}
    assert switches == {"FLIP": True, "REA": False, "PADDING": False, "CUTOUT": False}


@pytest.mark.parametrize("source", ["Market1501", "DukeMTMC"])
def test_baselines_of_diff_id_differ_in_their_images_alone(source):
    folder = PROJECTS / "DiffID/configs" / source
    for path in folder.glob("*_generated.yml"):
        ours = load_config(path, CPU)
        line = next(row for row in path.read_text().splitlines() if row.startswith("_BASE_"))
        theirs = load_config(folder / line.split()[1], CPU)
        assert ours.DATASETS.NAMES == (source, "GeneratedPersons")
        assert ours.DATASETS.TESTS == (source,)
        assert ours.DATASETS.GENERATED.PERSON_IDS == "kept"
        for section in ("MODEL", "SOLVER", "INPUT", "DATALOADER", "TEST"):
            assert ours[section] == theirs[section], path


@pytest.mark.parametrize("baseline", ["MGN", "AGW", "SBS", "BDB", "bagtricks"])
def test_baselines_from_generated_images_differ_in_their_start_alone(baseline):
    ours = load_config(PROJECTS / f"DiffusionReID/configs/{baseline}_R50.yml", CPU)
    theirs = load_config(BASE_OF[baseline], CPU)
    assert ours.MODEL.BACKBONE.PRETRAIN_PATH.startswith("logs/DiffusionReID/pretrain_R50/")
    for section in ("SOLVER", "INPUT", "DATALOADER", "TEST"):
        assert ours[section] == theirs[section]
    assert ours.MODEL.HEADS == theirs.MODEL.HEADS
    assert ours.MODEL.LOSSES == theirs.MODEL.LOSSES


@pytest.mark.parametrize("path", BASES, ids=lambda path: path.stem)
def test_recipe_steps_and_gives_features(path):
    size = ["INPUT.SIZE_TRAIN", [96, 32], "INPUT.SIZE_TEST", [96, 32]]
    cfg = load_config(path, [*CPU, *size, "MODEL.HEADS.NUM_CLASSES", 4]).clone()
    torch.manual_seed(0)
    model = build_model(cfg).train()
    add_losses(model, cfg)
    add_view_losses(model, cfg)
    if takes_clusters(type(model)):
        model.num_images = 4  # of source and target, as the trainer sets it
        spaces = [1 + cfg.MODEL.HEADS.STRIPES] if cfg.MODEL.HEADS.NAME == "StripeHead" else []
        features = torch.randn(4, *spaces, cfg.MODEL.BACKBONE.FEAT_DIM)
        features = torch.nn.functional.normalize(features, dim=-1)
        groups = torch.tensor([[0, 0, 1, 1]]).repeat(len(cfg.MODEL.GLT.CLUSTERS), 1)
        known = {"cameras": torch.tensor([0, 1, 0, 1]), "epoch": 0, "groups": groups}
        facts = {name: known[name] for name in getattr(model, "cluster_facts", ())}
        model.begin_clusters(features, torch.tensor([0, 0, 1, 1]), **facts)
    views = cfg.INPUT.VIEWS.COUNT if cfg.INPUT.VIEWS.RECIPE else 1
    batch = {
        "images": torch.rand(4 * views, 3, 96, 32) * 255,
        "targets": torch.tensor([0, 0, 1, 1]).repeat(views),
        "camids": torch.zeros(4 * views, dtype=torch.long),
        "indices": torch.arange(4).repeat(views),
        "modalities": torch.tensor([0, 1, 0, 1]).repeat(views),
        "views": views,
    }
    with torch.enable_grad():
        from fastreid.utils.events import EventStorage

        with EventStorage():
            losses = model(batch)
    sum(losses.values()).backward()
    kinds = {
        "JSConsistencyLoss": "js",
        "CrossEntropyLoss": "cls",
        "TripletLoss": "triplet",
        "WeightedTripletLoss": "weighted",
        "PrototypeContrastLoss": "prototype",
        "BYOLLoss": "byol",
        "ClusterContrastLoss": "cluster",
        "HybridContrastLoss": "cluster",
        "ICELoss": "proxy hard soft",
        "PPLRLoss": "global part triplet",
        "CameraProxyLoss": "camera",
        "InstanceContrastLoss": "cluster",
        "BankTripletLoss": "bank",
        "UNRNLoss": "cls triplet uncertainty contrast centres",
        "BridgeLoss": "bridge diversity",
    }
    named = [kinds.get(name, "contrast").split() for name in cfg.MODEL.LOSSES.NAME]
    expected = set(itertools.chain(*named))
    assert {name.split("_")[1] for name in losses} == expected
    gradients = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(gradient.abs().sum() > 0 for gradient in gradients) > 100
    with torch.no_grad():
        features = model.eval()(batch)
    assert features.shape[0] == 4 * views
    assert torch.isfinite(features).all()


def test_the_pose_guided_generator_has_the_published_values():
    guided = load_config(BASE_OF["generator"], CPU).GENERATION.POSE_GUIDED
    assert guided.SIZE == [384, 192]
    assert (guided.BATCH_SIZE, guided.ITERATIONS) == (4, 30000)
    assert (guided.BASE_LR, guided.WEIGHT_DECAY) == (1e-5, 0.01)
    frames = load_config(PROJECTS / "DiffID/configs/generator_frames.yml", CPU)
    frames = frames.GENERATION.POSE_GUIDED
    assert (frames.PAIRS, frames.SIZE, frames.BATCH_SIZE) == ("frames", [768, 768], 2)


def test_the_augmentation_of_diff_id_has_the_published_values():
    base = load_config(BASE_OF["augment"], CPU).GENERATION
    assert (base.POSE_PLAN.BANK, base.POSE_PLAN.ELEVATION) == (20, [0.0, 30.0])
    assert (base.SAMPLING.STEPS, base.SAMPLING.GUIDANCE_SCALE) == (20, 3.5)
    totals = {"Market1501": 45500, "DukeMTMC": 49000}
    for name, total in totals.items():
        own = load_config(PROJECTS / f"DiffID/configs/{name}/augment.yml", CPU)
        assert own.GENERATION.POSE_PLAN.IMAGES == total
