"""Commands, links and figures of the documents."""

import contextlib
import functools
import io
import itertools
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones.matrix import matrix_table

REPOSITORY = Path(__file__).resolve().parent.parent
READMES = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted(REPOSITORY.glob("configs/*/README.md")),
    *sorted(REPOSITORY.glob("docs/*.md")),
    *sorted((REPOSITORY / "projects").glob("*/README.md")),
]


def _commands():
    for readme in READMES:
        fences = re.findall(r"^```(\w*)\n(.*?)^```$", readme.read_text(), re.DOTALL | re.MULTILINE)
        for block in (text for language, text in fences if not language):
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
    assert words[0] in ("python", "torchrun", "srun", "accelerate"), words
    tool, after = tool_and_arguments(words)
    assert (REPOSITORY / tool).is_file()
    options = [word for word in after if word.startswith("--")]
    command = after[:1] if "COMMAND ..." in help_of(tool) else []
    if command and command[0].startswith("-"):
        command = ["run"]  # of generate_persons.py, meant where no command is given
    shown = help_of(tool, *command)
    assert all(option in shown for option in options), (options, shown)


def tool_and_arguments(words):
    """Split a command at its script (``tools/train_net.py``) or module (``-m projects.x.y``)."""
    start = next(i for i, word in enumerate(words) if word.endswith(".py") or word == "-m")
    if words[start] == "-m":
        return words[start + 1].replace(".", "/") + ".py", words[start + 2 :]
    return words[start], words[start + 1 :]


@functools.cache
def help_of(tool, *command):
    """Show the help of a tool or of one of its commands, within this process."""
    with (
        mock.patch.object(sys, "argv", [tool, *command, "--help"]),
        contextlib.redirect_stdout(io.StringIO()) as text,
        pytest.raises(SystemExit) as stop,
    ):
        runpy.run_path(str(REPOSITORY / tool), run_name="__main__")
    assert stop.value.code == 0
    return text.getvalue()


@pytest.mark.parametrize("words", [p for p in COMMANDS if "--config-file" in p.values[0]])
def test_configuration_and_keys_exist(words):
    after = words[words.index("--config-file") + 1 :]
    files = list(itertools.takewhile(lambda word: word.endswith((".yml", ".yaml")), after))
    assert files
    keys = [
        i
        for i, word in enumerate(words)
        if re.fullmatch(r"[A-Z][A-Z_0-9.]+", word) and word not in DATASET_REGISTRY._obj_map
    ]
    weights = {"MODEL.BACKBONE.PRETRAIN_PATH", "MODEL.WEIGHTS"}
    pairs = [word for i in keys if words[i] not in weights for word in words[i : i + 2]]
    cpu = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
    made_by_demo = "demo/train/config.yaml"
    for path in files:
        existing = "configs/demo.yml" if path == made_by_demo else path
        assert load_config(REPOSITORY / existing, [*pairs, *cpu])


LINKS = [
    pytest.param(readme, target, id=f"{readme.relative_to(REPOSITORY)}: {target}")
    for readme in READMES
    for target in re.findall(r"(?:\]\(|src=\")([^)#\":\s]+)(?:#[\w-]+)?[)\"]", readme.read_text())
]


@pytest.mark.parametrize(("readme", "target"), LINKS)
def test_link_leads_to_a_file(readme, target):
    assert (readme.parent / target).exists()


def test_readme_is_short_and_begins_with_the_reason_to_come():
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert "trains nothing" in lines[2]


@pytest.mark.parametrize(
    "readme", sorted(REPOSITORY.glob("projects/*/README.md")), ids=lambda path: path.parent.name
)
def test_page_of_a_method_has_the_headings_of_all(readme):
    headings = re.findall(r"^## (.*)$", readme.read_text(), re.MULTILINE)
    assert headings == [
        "What it does",
        "Which parts of fastreid_ext it uses",
        "Commands",
        "Results",
        "Where we differ from the paper",
        "Citation",
    ]
    assert any((readme.parent / "configs").rglob("*.yml"))


def test_every_document_and_method_is_listed():
    index = (REPOSITORY / "docs/README.md").read_text()
    front = (REPOSITORY / "README.md").read_text()
    for page in sorted(REPOSITORY.glob("docs/*.md")):
        assert page.name == "README.md" or f"]({page.name})" in index, page
    for page in sorted(REPOSITORY.glob("projects/*/README.md")):
        assert f"](projects/{page.parent.name}/README.md)" in front, page
        assert f"](../projects/{page.parent.name}/README.md)" in index, page


def test_the_matrix_of_the_document_is_that_of_the_checks():
    text = (REPOSITORY / "docs/backbones.md").read_text()
    shown = re.search(r"<!-- .*matrix_table\(\) -->\n(.*?)\n<!-- end -->", text, re.DOTALL)[1]
    assert shown == matrix_table()
