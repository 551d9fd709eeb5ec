"""tools/pose_persons.py as a user runs it, and kills it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastreid_ext.generation.stages.posed import generate_posed
from tests.generation.pose_guided.conftest import contents, no_models

REPOSITORY = Path(__file__).parents[3]
TOOL = REPOSITORY / "tools" / "pose_persons.py"


def started(words):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(TOOL), *words],
        cwd=REPOSITORY,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said_by(*words):
    process = started(words)
    said, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    return said.strip()


@pytest.mark.slow
def test_killed_it_ends_as_one_never_killed(job_cfg, tmp_path):
    """SIGKILL after the first identity; what is there is not done again."""
    changes = {"GENERATION.SAMPLING.STEPS": 8, "GENERATION.POSE_PLAN.PER_IDENTITY": 6}
    cfg = job_cfg("killed", **changes)
    generate_posed(job_cfg("whole", **changes), no_models)
    output = tmp_path / "killed"
    file = tmp_path / "job.yml"
    file.write_text(cfg.dump())
    words = ("--config-file", str(file))
    process = started(["run", *words])
    while process.poll() is None and not list(output.glob("images/*/metadata.jsonl")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in output.glob("images/*/*.jpg")}
    assert 6 <= len(kept) < 36
    assert not (output / "images" / "dataset.json").exists()
    assert "6 of 6 identities generated" in said_by("run", *words)
    assert contents(output / "images") == contents(tmp_path / "whole" / "images")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert said_by("verify", *words).startswith("no problem found: 6 of 6 identities generated")
    for command, end in (
        ("distribution", "poses_and_views_of_set.png"),
        ("preview", "preview.png"),
        ("card", "README.md"),
    ):
        assert said_by(command, *words).endswith(end)
