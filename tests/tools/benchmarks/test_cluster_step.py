"""The benchmark of a step on clusters, on the CPU."""

import json
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "benchmarks" / "cluster_step.py"


@pytest.mark.slow
def test_the_tool_runs(monkeypatch, tmp_path, capsys):
    words = ["cluster_step", "--device", "cpu", "--depth", "18x", "--size", "64", "32"]
    words += ["--batch", "32", "--clusters", "9", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--json", str(tmp_path / "figures.json")])
    tool = runpy.run_path(str(TOOL))
    tool["main"](tool["parse"]())
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["seconds"]) == {"supervised", "clusters"}
    assert all(value > 0 for value in figures["seconds"].values())
    assert "goal of at most 5 %" in capsys.readouterr().out
