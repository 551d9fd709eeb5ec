"""The benchmark of clustering runs, and both ways give the same labels."""

import re

import pytest

from .test_timing import run_tool


@pytest.mark.slow
def test_clustering_benchmark_runs_and_both_ways_agree(monkeypatch, capsys):
    run_tool("clustering", monkeypatch, "--size", "small", "--rounds", "1", "--dim", "512")
    output = capsys.readouterr().out
    assert "dense / ours" in output
    clusters = [int(number) for number in re.findall(r": (\d+) clusters", output)]
    assert len(clusters) == 4
    assert max(clusters) > 20
    assert output.count(" 0 labels differ") == 4
