"""tools/generate_persons.py as a user runs it, and kills it."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastreid_ext.generation.runs.stage import STAGES

TOOL = Path(__file__).parents[3] / "tools" / "generate_persons.py"
CONFIG = str(TOOL.parents[1] / "projects/DiffusionReID/miniature/configs/generate.yml")


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(TOOL))


def test_commands_and_pairs_are_told_apart(tool):
    parse = tool["parse"]
    args = parse(["--config-file", CONFIG, "SEED", "3", "OUTPUT_DIR", "b"])
    assert (args.command, args.opts) == ("run", ["SEED", "3", "OUTPUT_DIR", "b"])
    args = parse(["preview", "--config-file", CONFIG, "--identities", "3", "DATASETS.ROOT", "b"])
    assert (args.command, args.identities, args.opts) == ("preview", 3, ["DATASETS.ROOT", "b"])
    args = parse(["plan", "--config-file", CONFIG, "--gpus", "8", "SEED", "3"])
    assert (args.command, args.identities, args.gpus, args.speed) == ("plan", 751, 8, 60.0)
    args = parse(["--config-file", CONFIG, "--stages", "caption", "GENERATION.DTYPE", "float32"])
    assert (args.stages, args.opts) == (["caption"], ["GENERATION.DTYPE", "float32"])
    args = parse(["sample", "--persons", "A_1,B_2", "--shard", "1/2", "--retry", "failed"])
    assert (args.persons, args.shard, args.retry) == (["A_1", "B_2"], "1/2", "failed")


def test_stages_are_those_of_the_job(tool):
    assert tool["STAGES"] == STAGES


def test_an_unknown_command_is_refused(tool, capsys):
    with pytest.raises(SystemExit):
        tool["parse"](["verfy", "--config-file", CONFIG])
    assert (
        "invalid choice: 'verfy' (choose from 'run', 'list', 'caption'" in capsys.readouterr().err
    )


def started(words):
    environment = os.environ | {"PYTHONPATH": str(TOOL.parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(TOOL), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_at_any_stage_it_ends_as_one_never_killed(whole, settings_of, contents, tmp_path):
    """SIGKILL once something of each stage is there; what is there is not done again."""
    output = tmp_path / "job"
    (tmp_path / "job.yml").write_text(settings_of(output).dump())
    words = ["--config-file", str(tmp_path / "job.yml")]
    for pattern in ("captions/*.json", "reference_sets/*/settings.json", "images/*/metadata.jsonl"):
        process = started(words)
        while process.poll() is None and not list(output.glob(pattern)):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in output.glob("images/*/*.jpg")}
    assert kept
    process = started(words)
    said, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    assert said.strip() == str(whole[1]).replace(str(whole[0]), str(output))
    assert contents(output) == contents(whole[0])
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    generated = f"no problem found: 4 of 4 identities generated in {output}/images"
    for command, end in (("verify", generated), ("preview", "preview.png"), ("stats", ".png")):
        process = started([command, *words])
        assert process.communicate()[0].strip().endswith(end)
