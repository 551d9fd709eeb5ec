"""Help and mistakes are answered before anything heavy is imported."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"
NAMES = sorted(path.stem for path in TOOLS.glob("*.py") if path.stem != "command")
WITH_COMMANDS = {"generate_persons": 12, "plot": 11, "pose_persons": 11}
HEAVY = ["diffusers", "fastreid", "fastreid_ext", "numpy", "torch"]
# Runs a tool as `python tools/NAME.py ...` does, then prints which heavy modules it imported.
RUN = f"""
import runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = {str(TOOLS)!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    print("exit code", end.code)
print("heavy", [name for name in {HEAVY} if name in sys.modules])
"""


def run(name, *words):
    command = [sys.executable, "-c", RUN, str(TOOLS / f"{name}.py"), *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)


def expect_light(done, code):
    assert done.stdout.splitlines()[-2:] == [f"exit code {code}", "heavy []"], done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_help_is_light(name):
    done = run(name, "--help")
    expect_light(done, 0)
    if name in WITH_COMMANDS:
        commands = re.findall(r"^    ([a-z][a-z-]+)(?:  |$)", done.stdout, re.MULTILINE)
        assert len(commands) == WITH_COMMANDS[name]
        for command in commands:
            expect_light(run(name, command, "--help"), 0)


def test_mistakes_are_light():
    done = run("train_net", "--resme")
    expect_light(done, 2)
    assert "unrecognized arguments: --resme" in done.stderr
    done = run("plot", "rank-lists", "--config-file", "none.yml")
    expect_light(done, 1)
    assert "error: no configuration file at none.yml" in done.stderr


def test_a_wrong_key_does_not_wait_for_diffusers():
    done = run("generate_persons", "--config-file", "configs/smoke/generate.yml", "SEEED", "1")
    assert "error: command line: unknown name 'SEEED'" in done.stderr
    assert done.stdout.splitlines()[-2] == "exit code 1"
    assert "diffusers" not in done.stdout.splitlines()[-1]


def test_readme_lists_every_tool():
    text = (TOOLS / "README.md").read_text()
    rows = re.findall(r"^\| `([\w.]+\.py)` \| (.+) \| (.*) \|$", text, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(path.name for path in TOOLS.glob("*.py"))
    for name, _, command in rows:
        assert name == "command.py" or f"`python tools/{name}" in command
