"""Shares of a step of stage 1 by hand, and the tool on the CPU."""

import json
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "benchmarks" / "dapg_step.py"


@pytest.fixture
def tool():
    return runpy.run_path(str(TOOL))


def test_shares_are_hand_computed(tool):
    hidden = tool["shares"](step=6.0, corruption=2.0, loader=7.0)
    assert hidden == {
        "corruption": 0.25,
        "waiting for the loader": 0.0,
        "data and corruption": 0.25,
    }
    slow = tool["shares"](step=6.0, corruption=2.0, loader=10.0)
    assert slow["waiting for the loader"] == pytest.approx(0.2)
    assert slow["data and corruption"] == pytest.approx(0.4)


@pytest.mark.slow
def test_the_tool_runs(tool, monkeypatch, tmp_path, capsys):
    words = ["dapg_step", "--device", "cpu", "--depth", "18x", "--size", "64", "32"]
    words += ["--batch", "4", "--rounds", "1", "--json", str(tmp_path / "figures.json")]
    monkeypatch.setattr(sys, "argv", words)
    tool["main"](tool["parse"]())
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["seconds"]) == {"step", "corruption", "loader"}
    assert all(value > 0 for value in figures["seconds"].values())
    assert "goal of at most 20 %" in capsys.readouterr().out
