"""The benchmark of the diffusion branch: ratios, rows and goals; speed itself is not asserted."""

import functools
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from measuring import diffusion_branch as measuring
from measuring.diffusion_branch import Figures, build_levers, figures_of, read_configuration

TOOL = Path(__file__).resolve().parents[3] / "tools" / "benchmarks" / "diffusion_branch.py"
TINY = ["--batch", "4", "--rounds", "1", "INPUT.SIZE_TRAIN", "[32, 16]"]
TINY += ["INPUT.SIZE_TEST", "[32, 16]", "INPUT.CLEAN_VIEW.SIZE", "[64, 64]"]


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(TOOL))


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_ratios_are_medians_of_rounds_and_not_ratios_of_medians():
    times = {
        "baseline": [1.0, 2.0, 10.0],
        "lora": [2.0, 8.0, 30.0],
        "lora, compiled": [4.0, 4.0, 15.0],
    }
    memory = {"baseline": 100.0, "lora": 150.0, "lora, compiled": 120.0}
    found = figures_of("lora, compiled", "lora", times, memory)
    assert found == Figures(
        "lora, compiled",
        seconds=4.0,
        mib=120.0,
        step=2.0,  # of 4, 2 and 1.5
        memory=1.2,
        step_of_reference=0.5,  # of 2, 0.5 and 0.5
        memory_of_reference=0.8,
    )


def test_table_has_a_row_for_each_figure_and_the_reason_of_a_skipped_one(tool):
    rows = [
        Figures("baseline", 0.5, 100.0, 1.0, 1.0, 0.5, 0.625),
        Figures("lora", 1.0, 160.0, 2.0, 1.6, 1.0, 1.0),
        Figures("lora, compiled", skipped="triton is not installed"),
    ]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in tool["as_table"](rows, "lora").splitlines()
    ]
    assert lines[0][1:5] == ["step / baseline", "memory / baseline", "step / lora", "memory / lora"]
    assert lines[2] == ["baseline", "1.00", "1.00", "0.50", "0.62", "500", "100"]
    assert lines[3] == ["lora", "2.00", "1.60", "1.00", "1.00", "1000", "160"]
    assert lines[4][:2] == ["lora, compiled", "skipped: triton is not installed"]


def test_goals_are_those_of_lora_alone(tool):
    rows = [
        Figures("frozen", 1.0, 1.0, 9.0, 9.0, 1.0, 1.0),
        Figures("lora", 1.0, 1.0, 2.0, 1.7, 1.0, 1.0),
    ]
    assert tool["verdicts"](rows) == {
        "step": "2.00, goal 2.0: holds",
        "memory": "1.70, goal 1.6: missed",
    }
    assert tool["verdicts"](rows[:1]) == {}


def test_each_lever_changes_one_thing_of_the_reference(tmp_path):
    read = functools.partial(read_configuration, "small", "cpu", tmp_path)
    reference = read(UNET="lora").MODEL.DIFFUSION
    levers = build_levers("lora", "float32")
    for lever in levers:
        keys = read(**lever.keys).MODEL.DIFFUSION
        changed = [key for key in keys if keys[key] != reference[key]]
        assert len(changed) + lever.all_gradients == 1, lever.name
        assert lever.has_branch
    assert len({lever.name for lever in levers}) == len(measuring.LEVERS)


def test_gradients_of_all_weights_are_computed_and_not_added_up():
    unet = torch.nn.Linear(2, 1)
    unet.weight.requires_grad_(False)

    def step():
        unet(torch.ones(1, 2)).sum().backward()
        return True

    run = measuring._with_all_gradients(step, unet)
    run()
    run()
    assert unet.weight.grad.tolist() == [[1.0, 1.0]]
    assert unet.bias.grad.item() == 2.0  # that of the optimizer, which zeroes it itself


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(measuring.shutil, "which", lambda name: None)
    *others, compiled = build_levers("lora", "float32")
    assert measuring.reason_to_skip(compiled, "cpu") == "no C++ compiler (CXX, g++, clang++)"
    assert {measuring.reason_to_skip(lever, "cpu") for lever in others} == {""}


@pytest.mark.slow
def test_whole_benchmark_on_the_cpu(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring.shutil, "which", lambda name: None)
    output = tmp_path / "figures.json"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            TOOL.name,
            "--device",
            "cpu",
            "--output",
            str(output),
            "--levers",
            *measuring.LEVERS,
            *TINY,
        ],
    )
    tool["main"](tool["parse"]())
    content = json.loads(output.read_text())
    rows = {row["name"]: row for row in content["rows"]}
    assert list(rows)[:6] == ["baseline", "frozen", "lora", "partial1", "partial2", "full"]
    assert len(rows) == 6 + len(measuring.LEVERS)
    compiled = rows.pop("lora, compiled")
    assert "no C++ compiler" in compiled["skipped"]
    assert all(row["step"] > 0 and row["memory"] > 0 for row in rows.values())
    assert rows["baseline"]["step"] == rows["baseline"]["memory"] == 1
    assert rows["full"]["mib"] > rows["lora"]["mib"] > rows["baseline"]["mib"]
    assert content["goals"] == {}
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(rows) + 1
