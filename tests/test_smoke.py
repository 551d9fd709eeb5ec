"""The demo and the smoke runs as a user types them, from data to evaluation."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def run(words):
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_demo_as_a_user_runs_it(tmp_path):
    """The demo with few persons: every file it promises is there, a second call continues."""
    sizes = "--train-identities 12 --test-identities 8 --images-per-identity 8".split()
    small = "SOLVER.MAX_EPOCH 2 SOLVER.IMS_PER_BATCH 16 SOLVER.WARMUP_ITERS 4".split()
    command = ["tools/demo.py", "--output", str(tmp_path), *sizes, *small]
    first = run(command)
    for name in ("trained model", "colour histogram", "chance"):
        assert f"| {name}" in first
    for file in (
        "comparison.json",
        "rank_lists.png",
        "curves.png",
        "datasets/RenderedCampus/contact_sheet.png",
        "train/result.json",
        "train/model_final.pth",
    ):
        assert (tmp_path / file).stat().st_size > 0
    tables = [output.rpartition("RenderedCampus: ")[2] for output in (first, run(command))]
    assert tables[0] == tables[1]  # below the log


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A root with the two rendered sets of these runs."""
    root = tmp_path_factory.mktemp("sets")
    for domain in ("RenderedCampus", "RenderedVI"):
        words = f"tools/render_persons.py --domain {domain} --train-identities 12"
        words += f" --test-identities 8 --images-per-identity 8 --root {root}"
        run(shlex.split(words))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["AGW", "sbs", "mgn", "dbscan", "spcl"])
def test_smoke_run_trains_resumes_and_evaluates(recipe, sets, tmp_path):
    """The other smoke recipes are trained by the documents, see test_commands.py."""
    trained = train_resume_evaluate(recipe, sets, tmp_path)
    assert trained.startswith("RenderedCampus: Rank-1")


@pytest.mark.slow
def test_visible_infrared_model_is_tested_on_both_corrupted_sets(sets, tmp_path):
    clean = train_resume_evaluate("AGW_VI", sets, tmp_path)
    assert "infrared" in clean
    command = ["tools/evaluate_corruption.py", "--config-file", "configs/smoke/AGW_VI.yml"]
    command += ["--weights", str(tmp_path / "run/model_final.pth"), "--repeats", "2"]
    command += ["--index", str(tmp_path / "index.jsonl")]
    for name, words in (("C", []), ("C*", ["--corrupt", "both"])):
        output = tmp_path / name.strip("*") / str(len(words))
        given = [*command, *words, "--output", str(output), "DATASETS.ROOT", str(sets)]
        run(given)
        found = json.loads((output / "corruption.json").read_text())
        assert found["name"] == f"RenderedVI-{name}"
        assert f"mAP (fastreid) {found['clean']['mAP']:.2f}" in clean
        assert "infrared -> visible" in found["title"]
        assert "corrupted at 96x48" in found["title"]
        assert len(found["repeats"]) == 2
        assert found["corrupted"]["mAP"]["std"] >= 0


def train_resume_evaluate(recipe, sets, tmp_path):
    train = ["tools/train_net.py", "--config-file", f"configs/smoke/{recipe}.yml"]
    keys = ["DATASETS.ROOT", str(sets), "OUTPUT_DIR", str(tmp_path / "run")]
    final = ["MODEL.WEIGHTS", str(tmp_path / "run/model_final.pth")]
    trained = run([*train, *keys]).strip().splitlines()[-1]
    resumed = run([*train, "--resume", *keys]).strip().splitlines()[-1]
    evaluated = run([*train, "--eval-only", *keys, *final]).strip().splitlines()[-1]
    assert trained == resumed == evaluated
    return trained
