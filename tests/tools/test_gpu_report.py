"""The GPU report: what a failing, hanging or passing part leaves; all parts on the CPU."""

import json
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "gpu_report.py"


@pytest.fixture
def tool():
    return runpy.run_path(str(TOOL))


@pytest.fixture
def report(tool, tmp_path, monkeypatch):
    """Run the parts given by name and return exit code and report."""

    def run(*parts, minutes="8"):
        words = ["--device", "cpu", "--size", "tiny", "--output", str(tmp_path)]
        words += ["--minutes", minutes, "--parts", *parts]
        monkeypatch.setattr(sys, "argv", ["gpu_report.py", *words])
        code = tool["main"](tool["parse"]())
        content = json.loads((tmp_path / "report.json").read_text())
        return code, {part["name"]: part for part in content["parts"]}

    return run


def test_failing_and_hanging_parts_cost_only_themselves(tool, report, tmp_path):
    script = "print('begins', flush=True); import time; time.sleep(60)"
    tool["PARTS"].clear()
    tool["PARTS"]["crash"] = (lambda bench: bench.run("-c", "print('x'); raise SystemExit(3)"), 20)
    tool["PARTS"]["hang"] = (lambda bench: bench.run("-c", script), 3)
    tool["PARTS"]["figures"] = (lambda bench: {"images/s": float(bench.run("-c", "print(7)"))}, 20)
    code, parts = report("crash", "hang", "figures")
    assert code == 1
    assert parts["crash"]["status"] == "failed"
    assert "exit code 3" in parts["crash"]["error"]
    assert parts["crash"]["output"] == "x"
    assert parts["hang"]["status"] == "out of time"
    assert parts["hang"]["output"] == "begins"
    assert parts["figures"]["figures"] == {"images/s": 7.0}
    text = (tmp_path / "report.md").read_text()
    assert "| hang | out of time | 3 |" in text
    assert "- images/s: 7" in text


def test_parts_after_the_last_minute_are_not_run(tool, report):
    tool["PARTS"].clear()
    tool["PARTS"]["long"] = (lambda bench: bench.run("-c", "import time; time.sleep(60)"), 800)
    tool["PARTS"]["late"] = (lambda bench: {}, 800)
    code, parts = report("long", "late", minutes="0.02")
    assert code == 0
    assert [parts[name]["status"] for name in ("long", "late")] == ["out of time", "not run"]


def test_a_part_names_the_part_it_needs(report):
    code, parts = report("kill and resume")
    assert code == 1
    assert "which the part 'smoke training with AMP' makes" in parts["kill and resume"]["error"]


@pytest.mark.slow
def test_whole_report_on_the_cpu(tool, report):
    """The same commands as on a GPU, at tiny sizes; resumed weights are bit-equal."""
    code, parts = report(*tool["PARTS"], minutes="60")
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(parts, "passed")
    assert code == 0
    resumed = parts["kill and resume"]["figures"]
    assert resumed["tensors"] > 100
    assert resumed["largest difference of a weight"] == 0
    differences = parts["evaluation, CPU and GPU"]["figures"]
    assert set(differences.values()) == {0.0}
    assert parts["four baselines"]["figures"]["BoT bound_by"] in ("CPU", "loader")
    branch = parts["diffusion branch"]["figures"]
    assert branch["baseline step / baseline"] == 1
    assert branch["lora, VAE in each step step / baseline"] > 0
    assert "images/s learned" in parts["fine-tuning"]["output"]


@pytest.mark.slow
def test_the_generator_s_part_on_the_cpu(report):
    code, parts = report("pose-guided generator")
    assert code == 0
    figures = parts["pose-guided generator"]["figures"]
    assert figures["cached images are equal"]
    assert figures["images/s"] > 0
    assert figures["share of a step, reference pass"] > 0
    assert figures["share of sampling, decoding"] > 0
