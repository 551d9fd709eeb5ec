"""The moving average of the weights, against its formula."""

import types

import pytest
import torch
from torch import nn

from fastreid_ext.engine.averaging import AveragedWeights
from fastreid_ext.engine.checkpoint import read_checkpoint


def trainer(**changes: object) -> types.SimpleNamespace:
    return types.SimpleNamespace(**{"step_applied": True, "epoch": 0, "max_epoch": 2, **changes})


def test_follows_the_formula_from_the_weights_at_the_start():
    model = nn.Linear(1, 1, bias=False)
    hook = AveragedWeights(model, decay=0.9)
    hook.trainer = trainer()
    nn.init.zeros_(model.weight)  # as if loaded after the hook was built
    hook.before_train()
    nn.init.ones_(model.weight)
    for step in range(1, 6):
        hook.after_step()
        assert hook.averaged.module.weight.item() == pytest.approx(1 - 0.9**step, abs=1e-6)


def test_skipped_steps_do_not_count_and_buffers_are_copied():
    model = nn.BatchNorm1d(2)
    hook = AveragedWeights(model, decay=0.5)
    hook.trainer = trainer(step_applied=False)
    hook.before_train()
    nn.init.zeros_(model.weight)
    model.running_mean.fill_(7.0)
    hook.after_step()
    assert hook.averaged.module.weight.tolist() == [1.0, 1.0]
    hook.trainer = trainer()
    hook.after_step()
    assert hook.averaged.module.weight.tolist() == [0.5, 0.5]
    assert hook.averaged.module.running_mean.tolist() == [7.0, 7.0]


def test_writes_the_averaged_model_after_the_last_epoch_only(tmp_path):
    hook = AveragedWeights(nn.Linear(2, 1), decay=0.5, output_dir=str(tmp_path))
    hook.trainer = trainer()
    hook.after_epoch()
    assert not list(tmp_path.iterdir())
    hook.trainer = trainer(epoch=1)
    hook.after_epoch()
    written = read_checkpoint(tmp_path / "model_ema.pth")["model"]
    assert torch.equal(written["weight"], hook.averaged.module.weight)


def test_rate_outside_its_range_is_refused(make_cfg):
    with pytest.raises(ValueError, match=r"SOLVER\.EMA\.DECAY in \[0, 1\), got 1\.0"):
        make_cfg(SOLVER__EMA__DECAY=1.0)
