"""Self-supervised training that goes on from given weights, on a generated set."""

import json
from pathlib import Path

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.config import load_config
from fastreid_ext.engine import train
from fastreid_ext.engine.checkpoint import read_checkpoint

from .test_classification_pretrain import RECIPE, generated_set

PROJECT = Path(__file__).resolve().parents[2] / "projects" / "DiffusionReID" / "configs"
SMALL = {
    "SEED": 7,
    "MODEL.DEVICE": "cpu",
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "INPUT.CROP.SIZE": [64, 32],
    "DATASETS.TESTS": ("Market1501",),
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.AMP.ENABLED": False,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.LOG_PERIOD": 1,
    "TEST.EVAL_PERIOD": 1,
    "TEST.NUM_WORKERS": 0,
}
BACKBONES = {
    "simclr_R50": {"MODEL.BACKBONE.DEPTH": "18x"},
    "simclr_swin-T": {"MODEL.BACKBONE.NAME": "build_swin_backbone", "MODEL.BACKBONE.DEPTH": "tiny"},
}


def words(keys):
    return [str(part) for pair in keys.items() for part in pair]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", BACKBONES)
def test_goes_on_from_a_classifiers_backbone(recipe, market_root, tmp_path):
    keys = {"MODEL.DEVICE": "cpu", "MODEL.HEADS.NUM_CLASSES": 4, **BACKBONES[recipe]}
    torch.manual_seed(1)
    given = build_model(load_config(RECIPE, words(keys))).state_dict()
    torch.save({"model": given}, tmp_path / "classifier.pth")
    keys = (
        SMALL | BACKBONES[recipe] | {"DATASETS.ROOT": market_root, "OUTPUT_DIR": tmp_path / "run"}
    )
    keys["DATASETS.GENERATED.ROOTS"] = [str(generated_set(tmp_path / "generated"))]
    keys["MODEL.BACKBONE.PRETRAIN_PATH"] = tmp_path / "classifier.pth"
    cfg = load_config(PROJECT / f"{recipe}.yml", words(keys))
    first = build_model(cfg).state_dict()
    backbone = [name for name in given if name.startswith("backbone.")]
    assert all(torch.equal(first[name], given[name]) for name in backbone)

    results = train(cfg)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").open()]
    assert len(lines) == 2  # 20 generated images in batches of 8
    assert all(0 < line["total_loss"] < 20 for line in lines)
    assert results["Market1501"]["Rank-1"] > 0
    last = read_checkpoint(tmp_path / "run" / "model_final.pth")["model"]
    weights = [name for name in backbone if given[name].ndim > 1]
    moved = [name for name in weights if not torch.equal(last[name], given[name])]
    assert len(moved) > 0.9 * len(weights)
