"""The benchmarks measure what they say, on a small set; how fast we are is not asserted."""

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid_ext.evaluation.ranking import rank_metrics
from measuring.timing import (
    SIZES,
    ProductClock,
    median_seconds,
    peak_extra_mib,
    sample_test_set,
)

TOOLS = Path(__file__).resolve().parents[3] / "tools" / "benchmarks"


def run_tool(name, monkeypatch, *arguments):
    tool = runpy.run_path(str(TOOLS / f"{name}.py"))
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    tool["main"](tool["parse"]())


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_sampled_features_have_the_quality_asked_for():
    maps = []
    for noise in (1.0, 3.0, 1e3):
        test = sample_test_set(SIZES["small"], noise, dim=256)
        maps.append(rank_metrics(test.query, test.gallery, *test.labels).mAP)
    assert maps[0] > 0.95 > maps[1] > 0.2 > maps[2]
    assert len(test.query) == 200
    assert len(test.gallery) == 1000
    query_pids, gallery_pids, *_ = test.labels
    assert (gallery_pids == 0).sum() == 100  # distractors
    assert (query_pids > 0).all()
    assert set(np.unique(query_pids)) <= set(range(1, 51))


def test_memory_is_the_peak_of_a_process_of_its_own():
    mib = peak_extra_mib(lambda: torch.ones(50 * 2**18).sum(), "cpu")
    assert 49 < mib < 75


def test_memory_that_was_free_before_counts_too():
    """A child would take it over from its parent without growing."""
    pieces = [torch.ones(2**16) for _ in range(400)]  # 100 MiB on the heap, not mapped one by one
    del pieces
    mib = peak_extra_mib(lambda: [torch.ones(2**16) for _ in range(200)], "cpu")
    assert 49 < mib < 75


def test_a_killed_process_is_an_error_and_no_endless_wait():
    with pytest.raises(RuntimeError, match=r"got its end \(exit code 3\)"):
        peak_extra_mib(lambda: os._exit(3), "cpu")


def test_the_product_clock_times_products_only():
    values = torch.ones(300, 300)
    with ProductClock("cpu") as clock:
        values @ values.T
        products = clock.seconds
        values.exp()
    assert clock.seconds == products > 0


def test_methods_take_turns():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}
    assert list(median_seconds(runs, 2, "cpu")) == ["a", "b"]
    assert order == ["a", "b", "b", "a"]


def test_ranking_benchmark_runs(monkeypatch, capsys):
    arguments = ["--size", "small", "--rounds", "1", "--quality", "medium", "--no-cython"]
    run_tool("ranking", monkeypatch, *arguments)
    assert "whole evaluation / products alone" in capsys.readouterr().out


def test_reranking_benchmark_runs_and_agrees_with_fastreid(monkeypatch, capsys):
    run_tool("reranking", monkeypatch, "--size", "small", "--rounds", "1")
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines()[1:3])
    assert lines["ours"] == lines["fastreid"]
