"""The benchmark of condition maps runs, and both of its paths render the same maps."""

import runpy

import numpy as np
import pytest

from fastreid_ext.bodies.body_model import load_body

from .test_timing import TOOLS, run_tool


@pytest.mark.slow
def test_condition_map_benchmark_runs(monkeypatch, capsys):
    arguments = ("--frames", "3", "--repeats", "1", "--size", "64", "32", "--workers", "1")
    run_tool("condition_maps", monkeypatch, *arguments)
    output = capsys.readouterr().out
    assert "64 x 32, 7000 vertices, one core:" in output
    assert "1 workers:" in output
    assert "frames/s" in output


def test_both_paths_render_the_same_frame():
    benchmark = runpy.run_path(str(TOOLS / "condition_maps.py"))
    body = load_body()
    for scene in benchmark["sample_scenes"](4, seed=1):
        fast = benchmark["fast"](scene, body, (96, 48)).astype(int)
        slow = benchmark["reference"](scene, body, (96, 48)).astype(int)
        assert fast.shape == slow.shape == (7, 96, 48)
        assert (np.abs(fast - slow) <= 1).mean() > 0.99  # edges may fall to a face behind
