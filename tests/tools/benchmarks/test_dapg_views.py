"""The benchmark of DAPG's views: both loaders give the four views of each file."""

import runpy
import sys
from pathlib import Path

import cv2
import pytest
import torch

from measuring.corruptions import person_like
from measuring.dapg_views import our_loader, reference_loader

TOOL = Path(__file__).parents[3] / "tools" / "benchmarks" / "dapg_views.py"


@pytest.mark.slow
def test_both_loaders_give_four_views(tmp_path):
    file = str(tmp_path / "0.jpg")
    cv2.imwrite(file, person_like(64, 32, 0))
    (expected,) = reference_loader([file], (64, 32))()
    assert expected.shape == (4, 3, 64, 32)
    assert expected.dtype == torch.uint8
    for where, views in (("resized", 4), ("device", 3)):
        load = our_loader([file], (64, 32), where=where)
        first = load()[0]["images"]
        second = load()[0]["images"]
        assert first.shape == (views, 3, 64, 32)
        assert first.dtype == torch.uint8
        assert not torch.equal(first, second)


@pytest.mark.slow
def test_the_tool_runs(monkeypatch, capsys):
    words = ["dapg_views", "--images", "1", "--rounds", "1", "--height", "64", "--width", "32"]
    monkeypatch.setattr(sys, "argv", words)
    tool = runpy.run_path(str(TOOL))
    tool["main"](tool["parse"]())
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[2:]] == [
        "imagecorruptions",
        "ours",
        "ours,",
    ]
