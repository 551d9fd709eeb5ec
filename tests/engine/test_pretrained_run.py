"""A run that starts from the backbone of another run of ours."""

from pathlib import Path

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.engine import Trainer, train
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.setup import prepare_run

from .tiny import overrides

GREY = {"MODEL__PIXEL_MEAN": [127.5] * 3, "MODEL__PIXEL_STD": [127.5] * 3}


@pytest.fixture(scope="module")
def pretraining(market_root, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("pretraining")
    train(load_config("", overrides(market_root, output, SOLVER__MAX_EPOCH=1, **GREY)))
    return output / "model_final.pth"


def test_fine_tuning_starts_from_the_backbone_and_says_so(pretraining, make_cfg):
    cfg = make_cfg(
        MODEL__BACKBONE__PRETRAIN=True, MODEL__BACKBONE__PRETRAIN_PATH=pretraining, SEED=8
    )
    model = Trainer(prepare_run(cfg)).model
    theirs = read_checkpoint(pretraining)["model"]
    ours = model.state_dict()
    unequal = [
        name
        for name, value in ours.items()
        if name.startswith("backbone.") and not torch.equal(value, theirs[name])
    ]
    assert unequal == []
    log = (Path(cfg.OUTPUT_DIR) / "log.txt").read_text()
    assert "a checkpoint of fastreid or of ours" in log
    assert "100.0% of the backbone's" in log
    assert 'add to the command: MODEL.PIXEL_MEAN "[127.5,127.5,127.5]"' in log  # its config.yaml


def test_same_normalisation_is_no_warning(pretraining, make_cfg, caplog):
    cfg = make_cfg(
        MODEL__BACKBONE__PRETRAIN=True, MODEL__BACKBONE__PRETRAIN_PATH=pretraining, **GREY
    )
    Trainer(prepare_run(cfg))
    assert 'PIXEL_MEAN "[' not in (Path(cfg.OUTPUT_DIR) / "log.txt").read_text()
