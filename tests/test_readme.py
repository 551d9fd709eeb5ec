"""What the READMEs tell people to type works."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fastreid_ext.config import load_config

REPOSITORY = Path(__file__).resolve().parent.parent
READMES = [REPOSITORY / "README.md", REPOSITORY / "configs/smoke/README.md"]


def _commands():
    for readme in READMES:
        for block in re.findall(r"```\w*\n(.*?)```", readme.read_text(), re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield pytest.param(words, id=" ".join(words)[:70])


COMMANDS = list(_commands())


@pytest.mark.parametrize("words", COMMANDS)
def test_command_is_understood(words):
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=REPOSITORY, check=True, capture_output=True)
        return
    assert words[0] in ("python", "torchrun"), words
    tool = next(word for word in words if word.endswith(".py"))
    assert (REPOSITORY / tool).is_file()
    options = [word for word in words[words.index(tool) :] if word.startswith("--")]
    assert all(option in help_of(tool) for option in options), (options, help_of(tool))


@functools.cache
def help_of(tool):
    return subprocess.run(
        [sys.executable, tool, "--help"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("words", [p for p in COMMANDS if "--config-file" in p.values[0]])
def test_configuration_and_keys_exist(words):
    path = words[words.index("--config-file") + 1]
    rest = [word for word in words[words.index(path) + 1 :] if not word.startswith("--")]
    is_flag_value = bool(rest) and rest[0].isdigit()  # of --num-gpus
    overrides = rest[is_flag_value:]
    weights = {"MODEL.BACKBONE.PRETRAIN_PATH", "MODEL.WEIGHTS"}
    pairs = [
        pair for pair in zip(overrides[::2], overrides[1::2], strict=True) if pair[0] not in weights
    ]
    cpu = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
    assert load_config(REPOSITORY / path, [*sum(pairs, ()), *cpu])


@pytest.mark.slow
def test_demo_as_a_user_runs_it(tmp_path):
    """The demo with few persons: every file it promises is there, a second call continues."""
    sizes = "--train-identities 12 --test-identities 8 --images-per-identity 8".split()
    small = "SOLVER.MAX_EPOCH 2 SOLVER.IMS_PER_BATCH 16 SOLVER.WARMUP_ITERS 4".split()
    command = [sys.executable, "tools/demo.py", "--output", str(tmp_path), *sizes, *small]
    first = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr[-3000:]
    for name in ("trained model", "colour histogram", "chance"):
        assert f"| {name}" in first.stdout
    for file in (
        "comparison.json",
        "rank_lists.png",
        "curves.png",
        "datasets/RenderedCampus/contact_sheet.png",
        "train/result.json",
        "train/model_final.pth",
    ):
        assert (tmp_path / file).stat().st_size > 0
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    tables = [run.stdout.rpartition("RenderedCampus: ")[2] for run in (first, again)]
    assert tables[0] == tables[1]  # below the log


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["bagtricks", "AGW", "sbs", "mgn"])
def test_smoke_run_trains_resumes_and_evaluates(recipe, tmp_path):
    render = shlex.split(
        "tools/render_persons.py --domain RenderedCampus --train-identities 12 "
        f"--test-identities 8 --images-per-identity 8 --root {tmp_path}"
    )
    train = ["tools/train_net.py", "--config-file", f"configs/smoke/{recipe}.yml"]
    keys = ["DATASETS.ROOT", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "run")]
    final = ["MODEL.WEIGHTS", str(tmp_path / "run/model_final.pth")]
    outputs = []
    for words in (
        render,
        [*train, *keys],
        [*train, "--resume", *keys],
        [*train, "--eval-only", *keys, *final],
    ):
        done = subprocess.run(
            [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        outputs.append(done.stdout.strip().splitlines()[-1])
    assert outputs[1].startswith("RenderedCampus: Rank-1")
    assert outputs[1] == outputs[2] == outputs[3]
