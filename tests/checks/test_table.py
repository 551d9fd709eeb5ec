"""Every key has a row; what is set in vain, misspelt or out of range is refused."""

import re
from pathlib import Path

import pytest
from fastreid.config import get_cfg

from fastreid_ext.checks.check import log_unread_keys
from fastreid_ext.checks.losses import ARCHITECTURES
from fastreid_ext.checks.model import PARTS
from fastreid_ext.checks.table import TABLE, unread_keys
from fastreid_ext.config import load_config
from fastreid_ext.config.load import flat

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
RECIPES = sorted([*CONFIGS.rglob("*.yml"), *(REPOSITORY / "projects").rglob("*.yml")])
CPU = ["MODEL.DEVICE", "cpu"]
TRIPLETS = ["MODEL.LOSSES.NAME", "('CrossEntropyLoss', 'TripletLoss')"]
IDENTITY_BATCHES = ["DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler"]
PROJECTION = [
    *("MODEL.META_ARCHITECTURE", "ContrastivePretrain", "MODEL.HEADS.NAME", "ProjectionHead"),
    *("MODEL.HEADS.EMBEDDING_DIM", "128", "INPUT.VIEWS.RECIPE", "dapg"),
    *("MODEL.LOSSES.NAME", "('MultiPositiveContrastiveLoss',)"),
]
MGN = ["MODEL.META_ARCHITECTURE", "MGN"]


def refusal(*words: object, file: str | Path = "") -> str:
    """Return the message with which a configuration is refused."""
    with pytest.raises(ValueError, match="mistakes") as caught:
        load_config(file, [*CPU, *map(str, words)])
    return str(caught.value)


def test_every_key_has_a_row_and_every_row_a_key():
    keys = flat(get_cfg())
    assert set(keys) - set(TABLE) == set(), "keys without a row in fastreid_ext/checks"
    assert set(TABLE) - set(keys) == set(), "rows of keys that do not exist"


def test_defaults_are_allowed():
    for key, value in flat(get_cfg()).items():
        if key != "MODEL.DEVICE":  # cuda, which may not be here
            assert not TABLE[key].allowed.problem(key, value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # Set, but not read.
        (["INPUT.AUGMIX.ENABLED", True], "INPUT.AUGMIX.ENABLED is True (default False) but is not"),
        (["INPUT.AUTOAUG.ENABLED", True], "INPUT.AUTOAUG.PROB is 0.0; remove it, or set INPUT.AUT"),
        (["INPUT.CJ.BRIGHTNESS", 0.3], "because INPUT.CJ.ENABLED is False; remove it, or set INPU"),
        (
            ["MODEL.FREEZE_LAYERS", "['backbone']"],
            "because SOLVER.FREEZE_ITERS is 0; remove it, or",
        ),
        (["SOLVER.FREEZE_ITERS", 100], "because MODEL.FREEZE_LAYERS is empty; remove it, or fill"),
        (["SOLVER.HEADS_LR_FACTOR", 10.0, *MGN], "because MODEL.META_ARCHITECTURE is MGN; remove"),
        (["SOLVER.NESTEROV", True], "because SOLVER.OPT is Adam; remove it, or set SOLVER.OPT SGD"),
        (["SOLVER.STEPS", "[40, 130]"], "ends after SOLVER.MAX_EPOCH 120 epochs, before 130; remo"),
        (
            ["SOLVER.ETA_MIN_LR", 1e-5],
            "because SOLVER.SCHED is MultiStepLR; remove it, or set SOLV",
        ),
        (["MODEL.LOSSES.TRI.MARGIN", 0.5], "because MODEL.LOSSES.NAME has no TripletLoss; remove"),
        (["MODEL.LOSSES.FL.GAMMA", 3], "no meta-architecture of fastreid or fastreid_ext has a fo"),
        (["MODEL.LOSSES.JS.SCALE", 6.0], "because MODEL.LOSSES.NAME has no JSConsistencyLoss; rem"),
        (
            ["MODEL.LOSSES.CE.ALPHA", 0.5],
            "because MODEL.LOSSES.CE.EPSILON is 0.0; remove it, or se",
        ),
        (["MODEL.HEADS.MARGIN", 0.3], "because MODEL.HEADS.CLS_LAYER is Linear; remove it, or set"),
        ([*PROJECTION, "MODEL.HEADS.WITH_BNNECK", True], "because MODEL.HEADS.NAME is ProjectionH"),
        ([*PROJECTION, "MODEL.HEADS.NECK_FEAT", "after"], "MODEL.HEADS.NECK_FEAT is after (defaul"),
        ([*PROJECTION, "MODEL.HEADS.SCALE", 64], "MODEL.HEADS.SCALE is 64 (default 1) but is not"),
        (
            ["DATALOADER.NUM_INSTANCE", 8],
            "because DATALOADER.SAMPLER_TRAIN is TrainingSampler; rem",
        ),
        (["TEST.RERANK.K1", 30], "because TEST.RERANK.ENABLED is False; remove it, or set TEST.RE"),
        (
            ["DATASETS.FOLDER", "x"],
            "because DATASETS.NAMES has no PersonFolder or UnlabelledPersons",
        ),
        (["KD.EMA.MOMENTUM", 0.9], "because MODEL.META_ARCHITECTURE is Baseline; remove it, or se"),
        (["GENERATION.SAMPLING.FORMAT", "png", "GENERATION.SAMPLING.QUALITY", 80], "FORMAT is png"),
        # Half of what is needed is set.
        (["SOLVER.WEIGHT_DECAY", 0.05], "reaches weights alone: fastreid decays norms by WEIGHT_"),
        (["SOLVER.WEIGHT_DECAY", 0.05], "set SOLVER.WEIGHT_DECAY_NORM (0.0005) and SOLVER.WEIGHT_"),
        (
            ["TEST.PRECISE_BN.ENABLED", True, "DATASETS.NAMES", "('MSMT17',)"],
            "would take its statistics from Market1501, the default of TEST.PRECISE_BN.DATASET, "
            "but the run trains on MSMT17; set TEST.PRECISE_BN.DATASET to a set of DATASETS.NAMES",
        ),
        # Values.
        (
            ["MODEL.PIXEL_MEAN", "[0.485, 0.456, 0.406]"],
            "in units of 0 to 1, but images are in grey",
        ),
        (["MODEL.PIXEL_STD", "[0.229, 0.224, 0.225]"], "multiply by 255: [58.395, 57.12, 57.375]"),
        (
            ["INPUT.REA.ENABLED", True, "INPUT.REA.VALUE", "[0.5, 0.5, 0.5]"],
            "INPUT.REA.VALUE is [0",
        ),
        (["INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 1.5], "INPUT.REA.PROB in [0, 1], got 1.5"),
        (["INPUT.FLIP.ENABLED", True, "INPUT.FLIP.PROB", -0.5], "INPUT.FLIP.PROB in [0, 1], got -"),
        (["SOLVER.BASE_LR", -1e-3], "expected SOLVER.BASE_LR of at least 0, got -0.001"),
        (["SOLVER.CHECKPOINT_PERIOD", -1], "expected SOLVER.CHECKPOINT_PERIOD of at least 0"),
        # Misspelt names.
        (["MODEL.HEADS.POOL_LAYER", "GlobalAvgPol"], "did you mean 'GlobalAvgPool'?"),
        (["MODEL.HEADS.CLS_LAYER", "CircleSoftMax"], "did you mean 'CircleSoftmax'?"),
        (["MODEL.HEADS.NECK_FEAT", "befor"], "did you mean 'before'?"),
        (["MODEL.BACKBONE.NORM", "SyncBN"], "did you mean 'syncBN'?"),
        (["MODEL.HEADS.WITH_BNNECK", True, "MODEL.HEADS.NORM", "bn"], "did you mean 'BN'?"),
        (["SOLVER.OPT", "adamw"], "did you mean 'AdamW'?"),
        (["SOLVER.OPT", "LBFGS"], "unknown name 'LBFGS' in SOLVER.OPT"),
        (
            ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "values"],
            "did you mean 'value'?",
        ),
        (["SOLVER.WARMUP_METHOD", "linea"], "did you mean 'linear'?"),
        (
            ["MODEL.FREEZE_LAYERS", "['backbone.layer1', 'neck']", "SOLVER.FREEZE_ITERS", 9],
            "unknown name 'neck' in MODEL.FREEZE_LAYERS; known: backbone, heads (it would freeze",
        ),
        (
            ["MODEL.FREEZE_LAYERS", "['backbon']", "SOLVER.FREEZE_ITERS", 9],
            "did you mean 'backbone'? (it would freeze nothing)",
        ),
        # Losses that would stay constant.
        (
            [*TRIPLETS, *IDENTITY_BATCHES, "DATALOADER.NUM_INSTANCE", 1],
            "NUM_INSTANCE is 1; set it to 2 or",
        ),
        (
            [*TRIPLETS, *IDENTITY_BATCHES, "SOLVER.IMS_PER_BATCH", 4],
            "SOLVER.IMS_PER_BATCH 4 with DATALOADER.NUM_INSTANCE 4 holds one; raise the first",
        ),
    ],
    ids=lambda value: "-".join(map(str, value[-2:])) if isinstance(value, list) else "said",
)
def test_what_would_have_no_effect_is_refused(words, expected):
    assert expected in refusal(*words)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_recipes_set_no_key_in_vain(path):
    cfg = load_config(path, [*CPU, "MODEL.BACKBONE.PRETRAIN", "False"])
    in_vain = [key for key in unread_keys(cfg) if TABLE[key].is_part_of_the_method]
    assert not in_vain


def test_who_names_every_part_of_the_decay_is_believed():
    words = ["SOLVER.WEIGHT_DECAY", "0.05", "SOLVER.WEIGHT_DECAY_NORM", "0.0005"]
    cfg = load_config("", [*CPU, *words, "SOLVER.WEIGHT_DECAY_BIAS", "0.0"])
    assert cfg.SOLVER.WEIGHT_DECAY == 0.05


def test_statistics_of_another_set_are_believed_if_they_are_named():
    words = ["TEST.PRECISE_BN.ENABLED", True, "DATASETS.NAMES", "('MSMT17',)"]
    assert "TEST.PRECISE_BN.DATASET" in refusal(*words)
    cfg = load_config("", [*CPU, *words, "TEST.PRECISE_BN.DATASET", "Market1501"])
    assert cfg.TEST.PRECISE_BN.DATASET == "Market1501"


def test_a_key_of_a_base_file_is_no_mistake_of_the_file_above(tmp_path):
    (tmp_path / "base.yml").write_text("SOLVER: {STEPS: [40, 90]}")
    top = tmp_path / "top.yml"
    top.write_text("_BASE_: base.yml\nSOLVER: {SCHED: CosineAnnealingLR}")
    assert unread_keys(load_config(top, CPU)) == ["SOLVER.STEPS"]
    top.write_text("_BASE_: base.yml\nSOLVER: {SCHED: CosineAnnealingLR, STEPS: [40, 80]}")
    assert "SOLVER.STEPS is [40, 80] (default [30, 55]) but is not read" in refusal(file=top)


def test_a_key_that_the_command_line_switches_off_is_no_mistake_of_the_file(tmp_path):
    file = tmp_path / "recipe.yml"
    file.write_text("INPUT: {CJ: {ENABLED: True, HUE: 0.2}}")
    assert load_config(file, [*CPU, "INPUT.CJ.ENABLED", "False"]).INPUT.CJ.HUE == 0.2


def test_a_saved_configuration_loads_with_what_it_did_not_read(tmp_path):
    file = tmp_path / "config.yaml"
    words = ["MODEL.BACKBONE.PRETRAIN", "False", "SOLVER.SCHED", "CosineAnnealingLR"]
    file.write_text(load_config(CONFIGS / "Base-bagtricks.yml", [*CPU, *words]).dump())
    assert unread_keys(load_config(file)) == ["SOLVER.STEPS"]


def test_what_a_base_sets_in_vain_is_said_when_a_run_begins(caplog):
    words = ["MODEL.BACKBONE.PRETRAIN", "False", "SOLVER.SCHED", "CosineAnnealingLR"]
    cfg = load_config(CONFIGS / "Base-bagtricks.yml", [*CPU, *words])
    with caplog.at_level("INFO", logger="fastreid_ext"):
        log_unread_keys(cfg)
    [record] = caplog.records
    assert (record.levelname, record.args) == ("INFO", ("SOLVER.STEPS",))


def test_agw_on_a_resnet_18_warns_that_its_non_local_blocks_are_missing(caplog):
    words = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.BACKBONE.DEPTH", "18x"]
    log_unread_keys(load_config(CONFIGS / "Base-AGW.yml", [*CPU, *words]))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert (
        "MODEL.BACKBONE.WITH_NL is True (default False) but is not read in this configuration, "
        "because build_resnet_backbone 18x under Baseline does not have it, so this is not the "
        "method of the recipe; take 50x or 101x of build_resnet_backbone, "
        "build_two_stream_resnet_backbone, build_resnext_backbone, or set it to its default to "
        "say that this is meant"
    ) == record.getMessage()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parts_that_can_be_frozen_are_those_of_the_model(architecture):
    from fastreid.modeling import build_model

    recipe = {
        "PrototypeBaseline": "../projects/DCAC/configs/Base-DCAC-baseline.yml",
        "ClusterBaseline": "../projects/Unsupervised/configs/Base-DBSCAN.yml",
        "ClusterContrast": "../projects/Unsupervised/configs/Base-ClusterContrast.yml",
        "HHCL": "../projects/Unsupervised/configs/Base-HHCL.yml",
        "DomainBaseline": "../projects/DomainAdaptation/configs/Base-DBSCAN-DA.yml",
        "ICE": "../projects/Unsupervised/configs/Base-ICE.yml",
        "HCD": "../projects/DomainAdaptation/configs/Base-HCD.yml",
        "SpCL": "../projects/Unsupervised/configs/Base-SpCL.yml",
        "CaCL": "../projects/DomainAdaptation/configs/Base-CaCL.yml",
        "UNRN": "../projects/DomainAdaptation/configs/Base-UNRN.yml",
        "GLT": "../projects/DomainAdaptation/configs/Base-GLT.yml",
        "IDM": "../projects/DomainAdaptation/configs/Base-IDM.yml",
        "PPLR": "../projects/Unsupervised/configs/Base-PPLR.yml",
        "MGN": "Base-MGN.yml",
        "BDB": "../projects/BDB/configs/Base-BDB.yml",
        "ContrastivePretrain": "../projects/DAPG/configs/Base-DAPG-stage1.yml",
        "SimCLRPretrain": "../projects/SimCLR/configs/Base-SimCLR.yml",
        "BYOLPretrain": "../projects/BYOL/configs/Base-BYOL.yml",
    }.get(architecture, "Base-bagtricks.yml")
    words = [*CPU, "MODEL.BACKBONE.PRETRAIN", "False", "MODEL.HEADS.NUM_CLASSES", "4"]
    depth = {"PrototypeBaseline": "miniature", "MGN": "50x"}.get(architecture, "18x")
    words += ["MODEL.BACKBONE.DEPTH", depth]
    model = build_model(
        load_config(CONFIGS / recipe, [*words, "MODEL.META_ARCHITECTURE", architecture])
    )
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert set(PARTS[architecture]) == trained


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            "GENERATION.SAMPLING.GUIDANCE_SCAL",
            "did you mean 'GENERATION.SAMPLING.GUIDANCE_SCALE'? Keys of fas",
        ),
        (
            "GENERATION.SAMPLING.GUIDANCE_SCAL",
            "described in fastreid_ext/config/generation.py, others ar",
        ),
        ("SOLVER.BASE_LRR", "did you mean 'SOLVER.BASE_LR'?"),
    ],
)
def test_unknown_keys_name_the_nearest_and_where_keys_are_described(key, expected, tmp_path):
    with pytest.raises(ValueError, match=re.escape(expected)):
        load_config("", [*CPU, key, "1"])
    section, name = key.rsplit(".", 1)
    nested = "".join(f"{part}: {{" for part in section.split("."))
    (tmp_path / "a.yml").write_text(f"{nested}{name}: 1{'}' * (section.count('.') + 1)}")
    with pytest.raises(ValueError, match=re.escape(expected)):
        load_config(tmp_path / "a.yml", CPU)
