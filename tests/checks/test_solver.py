"""Refused warm-ups."""

import pytest

from ..tiny_cfg import tiny_cfg


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        (-1, "expected SOLVER.WARMUP_EPOCHS of at least 0, got -1"),
        (120, "below SOLVER.MAX_EPOCH, 120, got 120"),
    ],
)
def test_warmup_epochs_outside_the_run_are_refused(epochs, message):
    with pytest.raises(ValueError, match=message):
        tiny_cfg(SOLVER__WARMUP_EPOCHS=epochs)


def test_stairs_with_another_warmup_are_refused():
    keys = {"SOLVER.SCHED": "StairWarmupLR", "SOLVER.WARMUP_ITERS": 0}
    with pytest.raises(ValueError, match=r"but SOLVER.WARMUP_EPOCHS is 2; set it"):
        tiny_cfg(keys, SOLVER__WARMUP_EPOCHS=2)
