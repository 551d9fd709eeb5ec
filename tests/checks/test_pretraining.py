"""Warm-up in epochs and timm's RandAugment: what is refused, and with which words."""

import pytest

from fastreid_ext.config import load_config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOLVER.WARMUP_EPOCHS", "-1", "expected SOLVER.WARMUP_EPOCHS of at least 0, got -1"),
        ("SOLVER.WARMUP_EPOCHS", "120", "below SOLVER.MAX_EPOCH, 120, got 120"),
        ("INPUT.RANDAUGMENT.TIMM", "random-m9", "rand and parts of m.*got 'random-m9'.*e.g. rand"),
        ("INPUT.RANDAUGMENT.TIMM", "rand-mx", "got 'rand-mx'"),
        ("INPUT.SOFT_ERASING.BETA", "[0.5, 0.0]", "BETA with two numbers above 0"),
        ("INPUT.PATCH_MIXING.BETA", "[1.0, 0.0]", "BETA with two numbers above 0"),
    ],
)
def test_wrong_values_are_named(key, value, message):
    with pytest.raises(ValueError, match=message):
        load_config("", ["MODEL.DEVICE", "cpu", key, value])


def test_stairs_warm_up_themselves():
    keys = ["SOLVER.SCHED", "StairWarmupLR", "SOLVER.WARMUP_ITERS", "0"]
    with pytest.raises(ValueError, match=r"but SOLVER.WARMUP_EPOCHS is 2; set it"):
        load_config("", ["MODEL.DEVICE", "cpu", *keys, "SOLVER.WARMUP_EPOCHS", "2"])


ON = ["INPUT.RANDAUGMENT.ENABLED", "True", "INPUT.RANDAUGMENT.TIMM"]


@pytest.mark.parametrize("text", ["rand-m9-mstd0.5-inc1", "rand-m7-n3-p0.5-mmax10"])
def test_timms_texts_pass(text):
    cfg = load_config("", ["MODEL.DEVICE", "cpu", *ON, text])
    assert text == cfg.INPUT.RANDAUGMENT.TIMM
