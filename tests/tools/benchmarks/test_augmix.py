"""The benchmark of AugMix runs and says what it found."""

import re
import runpy
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[3] / "tools" / "benchmarks" / "augmix.py"


def test_benchmark_runs(monkeypatch, capsys):
    arguments = ["--images", "2", "--rounds", "1", "--size", "64", "32", "--operations"]
    monkeypatch.setattr(sys, "argv", ["augmix", *arguments])
    runpy.run_path(str(TOOL), run_name="__main__")
    printed = capsys.readouterr().out
    assert "translate_y" in printed
    assert re.search(r"AugMix is [\d.]+ to [\d.]+ times as fast as fastreid's\n$", printed)
