"""Features of a test set: as fastreid's loop extracts them, and how fast."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from fastreid.evaluation import ReidEvaluator, inference_on_dataset
from fastreid.modeling.meta_arch import build_model

from fastreid_ext.config import load_config
from fastreid_ext.data.build import build_test_loader
from fastreid_ext.evaluation.features import extract_features

from .tiny import overrides

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.mark.parametrize("flip", [False, True])
def test_features_are_fastreids(market_root, tmp_path, flip):
    """Also with TEST.FLIP: the mean of the features of the image and of its mirror image."""
    cfg = load_config("", overrides(market_root, tmp_path))
    torch.manual_seed(0)
    model = build_model(cfg)
    loader, num_query = build_test_loader(cfg, "Market1501")
    evaluator = ReidEvaluator(cfg, num_query)
    inference_on_dataset(model, loader, evaluator, flip_test=flip)
    theirs = torch.cat([prediction["feats"] for prediction in evaluator._predictions])
    ours = extract_features(model, loader, num_query, flip=flip)
    assert torch.equal(ours.features, theirs)
    if flip:
        plain = extract_features(model, loader, num_query).features
        assert not torch.allclose(plain, theirs)


def test_the_benchmark_runs(market_root, tmp_path, monkeypatch, capsys):
    tool = runpy.run_path(str(TOOLS / "benchmarks" / "extraction.py"))
    arguments = ["--config-file", "", "--workers", "0", "--batches", "1"]
    keys = map(str, overrides(market_root, tmp_path))
    monkeypatch.setattr(sys, "argv", ["extraction", *arguments, *keys])
    tool["main"](tool["parse"]())
    assert "together at most" in capsys.readouterr().out
