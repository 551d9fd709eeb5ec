import re

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from fastreid_ext.checks import check_config
from fastreid_ext.config import add_fastreid_ext_config, load_config

CPU = ["MODEL.DEVICE", "cpu"]


def test_keys_are_added_beside_the_hosts():
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    assert cfg.SEED == -1
    assert cfg.DATASETS.GENERATED.CAMERA_RULE == "single"
    assert cfg.DATASETS.NAMES == ("Market1501",)


def test_defaults_are_valid_and_frozen():
    assert load_config("", CPU).is_frozen()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.LOSSES.NAME", ("TripletLos",), "did you mean 'TripletLoss'"),
        ("MODEL.LOSSES.NAME", ("triplet_loss",), "did you mean 'TripletLoss'"),
        ("MODEL.BACKBONE.NAME", "build_resnest_backbon", "did you mean 'build_resnest_backbone'"),
        ("DATASETS.NAMES", ("Market501",), "did you mean 'Market1501'"),
        ("DATASETS.TESTS", ("RenderedCampos",), "did you mean 'RenderedCampus'"),
        ("MODEL.META_ARCHITECTURE", "baseline", "did you mean 'Baseline'"),
        ("MODEL.HEADS.NAME", "EmbedingHead", "did you mean 'EmbeddingHead'"),
        ("DATALOADER.SAMPLER_TRAIN", "NaiveSampler", "did you mean 'NaiveIdentitySampler'"),
        ("SOLVER.OPT", "Adm", "did you mean 'Adam'"),
        ("SOLVER.SCHED", "StepLR", "did you mean 'MultiStepLR'"),
        ("TEST.METRIC", "cosin", "did you mean 'cosine'"),
        ("DATASETS.GENERATED.CAMERA_RULE", "xyz", "known: per_image, row, single, source"),
        ("DATASETS.GENERATED.BATCH_SHARE", 1.0, "expected DATASETS.GENERATED.BATCH_SHARE in"),
        ("DATASETS.NAMES", ("GeneratedPersons",), "DATASETS.GENERATED.ROOTS is empty"),
        ("DATALOADER.NUM_INSTANCE", 0, "NUM_INSTANCE of at least 1, got 0"),
        ("MODEL.LOSSES.NAME", (), "no weight would change"),
        ("SEED", -2, "expected SEED in [0, 2147483648), or -1, got -2"),
        ("SEED", 2**31, "2147483648), or -1, got 2147483648"),
        ("MODEL.MIN_WEIGHTS_MATCHED", 1.5, "expected MODEL.MIN_WEIGHTS_MATCHED in [0, 1], got 1.5"),
        ("SOLVER.LOG_PERIOD", 0, "expected SOLVER.LOG_PERIOD of at least 1"),
        ("SOLVER.NON_FINITE.MAX_SKIPPED", -1, "expected SOLVER.NON_FINITE.MAX_SKIPPED"),
        ("MODEL.WEIGHTS", "nowhere.pth", "no file at nowhere.pth (MODEL.WEIGHTS)"),
        ("MODEL.BACKBONE.PRETRAIN", True, "PRETRAIN_PATH is empty; nothing is downloaded"),
        ("MODEL.DEVICE", "gpu", "expected MODEL.DEVICE cpu, cuda or cuda:<number>, got 'gpu'"),
        ("MODEL.BACKBONE.SEMANTIC_WEIGHT", 1, "default's type; write 1.0 for 1"),
        ("DATALOADER.NUM_WORKERS", -1, "expected DATALOADER.NUM_WORKERS of at least 0, got -1"),
        ("TEST.NUM_WORKERS", -1, "expected TEST.NUM_WORKERS of at least 0, got -1"),
        ("TEST.IMS_PER_BATCH", 0, "expected TEST.IMS_PER_BATCH of at least 1, got 0"),
    ],
)
def test_mistakes_are_named_with_what_to_do(key, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_config("", [*CPU, key, value])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("RERANK.K1", 0, "expected TEST.RERANK.K1 of at least 1, got 0"),
        ("RERANK.K2", 0, "expected TEST.RERANK.K2 of at least 1, got 0"),
        ("RERANK.LAMBDA", 1.5, "expected TEST.RERANK.LAMBDA in [0, 1], got 1.5"),
        ("AQE.QE_K", 0, "expected TEST.AQE.QE_K of at least 1, got 0"),
        ("AQE.QE_TIME", 0, "expected TEST.AQE.QE_TIME of at least 1, got 0"),
    ],
)
def test_evaluation_is_checked_before_the_training(key, value, message):
    overrides = [*CPU, f"TEST.{key}", value, f"TEST.{key.split('.')[0]}.ENABLED", True]
    with pytest.raises(ValueError, match=re.escape(message)):
        load_config("", overrides)


def test_all_mistakes_come_at_once():
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    cfg.merge_from_list([*CPU, "SOLVER.OPT", "Adm", "TEST.METRIC", "cosin"])
    with pytest.raises(ValueError, match=r"(?s)SOLVER.OPT.*TEST.METRIC"):
        check_config(cfg)


def test_batch_must_divide_into_instances():
    overrides = ["DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "SOLVER.IMS_PER_BATCH", 30]
    with pytest.raises(ValueError, match=r"multiple of DATALOADER\.NUM_INSTANCE, got 30 and 4"):
        load_config("", [*CPU, *overrides])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_says_so():
    with pytest.raises(ValueError, match=r"sees no GPU; add `MODEL\.DEVICE cpu`"):
        load_config("", ["MODEL.DEVICE", "cuda"])


def test_files_are_local_plain_and_known(tmp_path):
    tmp_path = tmp_path / "home"
    tmp_path.mkdir()
    with pytest.raises(FileNotFoundError, match=r"no configuration file at .*missing\.yml"):
        load_config(tmp_path / "missing.yml")
    with pytest.raises(ValueError, match="expected a local configuration file, got https://"):
        load_config("https://example.org/config.yml")
    files = {
        "remote.yml": ("_BASE_: http://example.org/base.yml", "expected a local configuration"),
        "unsafe.yml": ("SEED: !!python/object/apply:os.getpid []", "expected plain YAML"),
        "list.yml": ("- 1", "expected KEY: VALUE lines, got list"),
        "key.yml": ("MODEL: {BACKBON: 1}", "MODEL.BACKBON"),
        "bases.yml": ("_BASE_: [a.yml]", r"the path of one file as _BASE_, got \['a.yml'\]"),
        "no_base.yml": ("_BASE_: ''", "the path of one file as _BASE_, got ''"),
        "circle.yml": ("_BASE_: ../home/circle.yml", "is its own _BASE_, through others"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=message):
            load_config(tmp_path / name, CPU)


def test_base_files_are_merged(tmp_path):
    (tmp_path / "base.yml").write_text("SEED: 3\nMODEL: {DEVICE: cpu}")
    (tmp_path / "child.yml").write_text("_BASE_: base.yml\nSOLVER: {MAX_EPOCH: 7}")
    cfg = load_config(tmp_path / "child.yml", ["SOLVER.OPT", "SGD"])
    assert (cfg.SEED, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.OPT) == (3, 7, "SGD")


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yml").write_text("SEED: 3\nOUTPUT_DIR: ~/run")
    (tmp_path / "sub/middle.yml").write_text("_BASE_: ../base.yml")
    (tmp_path / "child.yml").write_text("_BASE_: ~/sub/middle.yml")
    (tmp_path / "weights.pth").touch()
    cfg = load_config("~/child.yml", [*CPU, "MODEL.WEIGHTS", "~/weights.pth"])
    assert cfg.SEED == 3
    assert cfg.MODEL.WEIGHTS == str(tmp_path / "weights.pth")
    assert cfg.OUTPUT_DIR == str(tmp_path / "run")


def test_losses_of_a_users_architecture_are_its_own_business():
    @META_ARCH_REGISTRY.register()
    class ArchitectureOfAUser:
        pass

    keys = ["MODEL.META_ARCHITECTURE", "ArchitectureOfAUser", "MODEL.LOSSES.NAME", ("OwnLoss",)]
    assert load_config("", [*CPU, *keys]).MODEL.LOSSES.NAME == ("OwnLoss",)


def test_wrong_values_say_whether_file_or_command_line_is_at_fault(tmp_path):
    (tmp_path / "good.yml").write_text("SEED: 3")
    (tmp_path / "bad.yml").write_text("SEED: three")
    with pytest.raises(ValueError, match=r"bad.yml: Type mismatch.*SEED; give a value of the def"):
        load_config(tmp_path / "bad.yml", CPU)
    with pytest.raises(ValueError, match=r"^command line: Type mismatch"):
        load_config(tmp_path / "good.yml", [*CPU, "SEED", "three"])
    with pytest.raises(ValueError, match=r"^command line: unknown name 'SED' in .* 'SEED'"):
        load_config(tmp_path / "good.yml", [*CPU, "SED", "3"])
