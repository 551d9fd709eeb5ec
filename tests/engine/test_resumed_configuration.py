"""Keys that may change when a run is continued, and a cosine of another length."""

import math
from pathlib import Path

import pytest

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer, train
from fastreid_ext.engine.changed_keys import changed_keys
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.results import plain
from fastreid_ext.engine.resumed_configuration import refuse_changed_keys, resumed_configuration
from fastreid_ext.engine.setup import argument_parser, prepare_run, run_configuration

from .tiny import overrides

COSINE = {"SOLVER__SCHED": "CosineAnnealingLR", "SOLVER__ETA_MIN_LR": 1e-6}


def test_each_refused_key_is_named_with_both_values_and_what_to_do(make_cfg):
    recorded = plain(make_cfg())
    changed = make_cfg(
        SOLVER__BASE_LR=0.5,
        SOLVER__STEPS=[1],
        DATALOADER__NUM_INSTANCE=4,
        INPUT__REA__ENABLED=False,
    )
    with pytest.raises(ValueError, match=r"Put the earlier values back .*MODEL\.WEIGHTS") as error:
        refuse_changed_keys(recorded, changed)
    lines = str(error.value).splitlines()
    assert lines[1:5] == [
        "  - DATALOADER.NUM_INSTANCE: was 2, is 4",
        "  - INPUT.REA.ENABLED: was True, is False",
        "  - SOLVER.BASE_LR: was 0.0003, is 0.5",
        "  - SOLVER.STEPS: was [30, 55], is [1]",
    ]


def test_free_keys_act_and_are_named(make_cfg, caplog):
    recorded = plain(make_cfg())
    changed = make_cfg(TEST__EVAL_PERIOD=5, DATALOADER__NUM_WORKERS=0, SOLVER__MAX_EPOCH=9)
    assert resumed_configuration(recorded, changed) == changed
    assert "changed key: SOLVER.MAX_EPOCH: was 2, is 9 from now on" in caplog.text
    assert "TEST.EVAL_PERIOD: was 0, is 5" in caplog.text
    assert "DATALOADER.NUM_WORKERS: was 2, is 0" in caplog.text


def test_what_acts_at_the_start_only_keeps_its_recorded_value(make_cfg):
    recorded = plain(make_cfg())
    recorded["MODEL"]["WEIGHTS"] = "start.pth"
    recorded["MODEL"]["BACKBONE"] |= {"PRETRAIN": True, "PRETRAIN_PATH": "gone.pth"}
    cfg = resumed_configuration(recorded, make_cfg())
    backbone = cfg.MODEL.BACKBONE
    assert (cfg.MODEL.WEIGHTS, backbone.PRETRAIN) == ("start.pth", True)
    assert backbone.PRETRAIN_PATH == "gone.pth"
    assert cfg.is_frozen()


def test_a_key_younger_than_the_checkpoint_had_its_defaults_effect(make_cfg):
    recorded = plain(make_cfg())
    del recorded["SOLVER"]["GRADIENT_CHECK_STEPS"]
    assert changed_keys(recorded, make_cfg()) == []
    (change,) = changed_keys(recorded, make_cfg(SOLVER__GRADIENT_CHECK_STEPS=5))
    assert (change.key, change.before, change.now) == ("SOLVER.GRADIENT_CHECK_STEPS", 3, 5)


def test_what_the_data_fill_in_is_no_difference(make_cfg):
    recorded = plain(make_cfg(MODEL__HEADS__NUM_CLASSES=8, SOLVER__WARMUP_EPOCHS=1))
    recorded["SOLVER"]["WARMUP_ITERS"] = 6
    assert changed_keys(recorded, make_cfg(SOLVER__WARMUP_EPOCHS=1)) == []


def test_dtype_of_mixed_precision_is_a_difference_only_with_it(make_cfg):
    recorded = plain(make_cfg())
    recorded["SOLVER"]["AMP"]["DTYPE"] = "float16"  # the default of older runs
    assert changed_keys(recorded, make_cfg()) == []
    recorded["SOLVER"]["AMP"]["ENABLED"] = True
    with pytest.raises(ValueError, match=r"SOLVER.AMP.DTYPE: was 'float16', is 'bfloat16'"):
        refuse_changed_keys(recorded, make_cfg(SOLVER__AMP__ENABLED=True))


def test_a_checkpoint_without_configuration_is_resumed_with_one_warning(make_cfg, caplog):
    cfg = make_cfg(SOLVER__BASE_LR=0.5)
    assert resumed_configuration(None, cfg) is cfg
    (record,) = caplog.records
    assert "this checkpoint holds no configuration" in record.message


def test_refused_before_the_data_are_read_and_the_record_stays(make_cfg, monkeypatch):
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
    train(cfg)
    kept = (Path(cfg.OUTPUT_DIR) / "config.yaml").read_bytes()
    other = make_cfg(SOLVER__BASE_LR=0.5, DATASETS__ROOT="/nowhere")
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LR: was 0\.0003, is 0\.5"):
        train(other, resume=True)
    trainer = Trainer(make_cfg(SOLVER__BASE_LR=0.5))
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LR: was 0\.0003, is 0\.5"):
        trainer.resume_or_load(True)  # without prepare_run, too
    assert (Path(cfg.OUTPUT_DIR) / "config.yaml").read_bytes() == kept


def test_continuing_asks_for_no_file_of_the_start(market_root, tmp_path):
    """The ImageNet file or MODEL.WEIGHTS may be gone; config.yaml keeps naming them."""
    pairs = overrides(market_root, tmp_path, SOLVER__MAX_EPOCH=1)
    train(load_config("", pairs))
    gone = ["MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", "/gone.pth"]
    evaluated = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    for command in (["--eval-only", *pairs, *gone, *evaluated], ["--resume", *pairs, *gone]):
        cfg = run_configuration(argument_parser().parse_args(command))
        assert not cfg.MODEL.BACKBONE.PRETRAIN
    with pytest.raises(ValueError, match=r"no file at /gone\.pth"):
        run_configuration(argument_parser().parse_args([*pairs, *gone]))
    elsewhere = ["OUTPUT_DIR", str(tmp_path / "empty")]
    with pytest.raises(ValueError, match=r"no file at /gone\.pth"):
        run_configuration(argument_parser().parse_args(["--resume", *pairs, *gone, *elsewhere]))


class Rates(Trainer):
    """Write down the rate of each epoch's last iteration instead of training."""

    def run_step(self) -> None:
        if (self.iter + 1) % self.iters_per_epoch == 0:
            self.__dict__.setdefault("rates", []).append(self.optimizer.param_groups[0]["lr"])


def rates_of(cfg, resume: bool = False) -> list[float]:
    trainer = Rates(prepare_run(cfg, resume=resume))
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer.rates


def cosine(epoch: int, begin: int, max_epoch: int) -> float:
    """Return the rate of an epoch, counted from 0; the first after warm-up has the whole rate."""
    share = max(epoch - begin, 0) / (max_epoch - begin)
    return 1e-6 + (3e-4 - 1e-6) * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize(
    ("warmup", "delay", "begin"),
    [(4, 0, 1), (6, 0, 1), (7, 0, 2), (0, 0, 0), (4, 3, 3)],  # 6 iterations an epoch
)
def test_a_cosine_ends_with_an_epoch_that_still_learns(make_cfg, warmup, delay, begin):
    """In fastreid the last epoch has the rate ETA_MIN_LR if there is a warm-up."""
    keys = {"SOLVER__MAX_EPOCH": 6, "SOLVER__GRADIENT_CHECK_STEPS": 0, "DATALOADER__NUM_WORKERS": 0}
    keys |= {"SOLVER__WARMUP_ITERS": warmup, "SOLVER__DELAY_EPOCHS": delay}
    rates = rates_of(make_cfg(**COSINE, **keys))
    first = math.ceil(warmup / 6)  # epochs of warm-up, whose end rises
    assert rates[first:] == pytest.approx([cosine(e, begin, 6) for e in range(first, 6)], rel=1e-9)
    assert rates[-1] > 0.01 * 3e-4


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize("before", [2, 4])
def test_an_extended_cosine_is_that_of_the_new_length(make_cfg, caplog, before):
    """With the length of before, the rates would be 0 in epoch 4 and rise to the end."""
    keys = {**COSINE, "SOLVER__GRADIENT_CHECK_STEPS": 0, "DATALOADER__NUM_WORKERS": 0}
    rates = rates_of(make_cfg(**keys, SOLVER__MAX_EPOCH=before))
    assert rates[1:] == pytest.approx([cosine(e, 1, before) for e in range(1, before)], rel=1e-9)
    longer = make_cfg(**keys, SOLVER__MAX_EPOCH=7)
    rates = rates_of(longer, resume=True)
    assert rates == pytest.approx([cosine(e, 1, 7) for e in range(before, 7)], rel=1e-9)
    log = (Path(longer.OUTPUT_DIR) / "log.txt").read_text()
    assert "SOLVER.MAX_EPOCH: was" in log
    assert "a cosine over 6 epochs, the length that SOLVER.MAX_EPOCH 7 gives it" in log
    recorded = read_checkpoint(Path(longer.OUTPUT_DIR) / "model_final.pth")["config"]
    assert recorded["SOLVER"]["MAX_EPOCH"] == 7
