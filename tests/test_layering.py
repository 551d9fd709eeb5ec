"""The import law of ARCHITECTURE.md, as a test."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "fastreid_ext"
TABLE_ROW = r"^\| `(\w+)` \|.*\| ([^|]+) \|$"

ALLOWED = {
    "atomic": set(),
    "ranks": set(),
    "full_precision": set(),
    "processes": set(),
    "compat": {"full_precision", "processes"},
    "command_line": set(),
    "names": set(),
    "identity_numbers": set(),
    "registries": set(),
    "saved_settings": set(),
    "hub": set(),
    "pictures": {"atomic"},
    "corruptions": set(),
    "manifest": {"atomic", "identity_numbers", "names"},
    # Stable Diffusion as a part: for generation, and for models that learn with it.
    "diffusion": {"atomic", "full_precision", "hub", "manifest", "names"},
    "config": {"names"},
    "bodies": {"atomic", "pictures"},
    "rendered": {"atomic", "bodies", "manifest", "pictures", "saved_settings"},
    "data": {
        "atomic",
        "corruptions",
        "identity_numbers",
        "manifest",
        "names",
        "registries",
    },
    "modeling": {
        *("diffusion", "full_precision", "hub", "names", "neighbours", "processes", "registries")
    },
    # The table of keys, above what it judges, so that it imports names and limits, not copies.
    "checks": {"config", "corruptions", "data", "modeling", "names", "neighbours", "registries"},
    # The offline half that needs torch: reads registered data sets, never the trainer.
    "generation": {
        "atomic",
        "bodies",
        "checks",
        "config",
        "data",
        "diffusion",
        "full_precision",
        "manifest",
        "modeling",
        "pictures",
        "ranks",
        "saved_settings",
    },
    "neighbours": set(),
    "evaluation": {
        "atomic",
        "config",
        "corruptions",
        "data",
        "neighbours",
        "pictures",
        "processes",
    },
    "engine": {
        "atomic",
        "checks",
        "compat",
        "config",
        "data",
        "diffusion",
        "modeling",
        "evaluation",
        "names",
        "neighbours",
        "pictures",
        "processes",
        "ranks",
        "saved_settings",
    },
    # A trained model elsewhere: ONNX, features of a folder.
    "deploy": {"atomic", "checks", "config", "data", "evaluation", "engine"},
    "__init__": {"checks", "compat", "config", "data", "modeling"},
}
# Rooms inside a package, from the ground up: each may import those before it.
FLOORS = {
    "generation": (
        "runs",
        "identities",
        "pose_guided",
        "pose_plan",
        "captions",
        "fine_tuning",
        "sampling",
        "filters",
        "generated_set",
        "stages",
    ),
    "modeling": (
        "grouped_batch_norm",
        "batch_instance_norm",
        "domain_batch_norm",
        "domain_mixing",
        "losses",
        "backbones",
        "pretrained",
        "build",
        "heads",
        "meta_arch",
        "diffusion_branch",
        "training_model",
    ),
}
# Offline code runs without fastreid, so that images can be made in another environment.
WITHOUT_FASTREID = {
    "atomic",
    "command_line",
    "identity_numbers",
    "names",
    "ranks",
    "saved_settings",
    "manifest",
    "bodies",
    "rendered",
}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def layer_of(source):
    return source.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(source):
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: write imports in full"
            yield node.module
            if node.module == "fastreid_ext":
                yield from (f"fastreid_ext.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_point_down(source):
    layer = layer_of(source)
    for module in imported_modules(source):
        package, *rest = module.split(".")
        if package == "fastreid_ext" and rest:
            assert rest[0] in ALLOWED[layer] | {layer}, f"{layer} must not import {rest[0]}"
        if package in ("fastreid", "torch"):
            assert layer not in WITHOUT_FASTREID, f"{layer} must not import {package}"


@pytest.mark.parametrize("package", FLOORS)
def test_no_arrow_runs_up_inside_a_package(package):
    floors = FLOORS[package]
    for source in SOURCES:
        layer, *inside = source.relative_to(PACKAGE).with_suffix("").parts
        if layer != package or inside[0] == "__init__":
            continue
        below = floors[: floors.index(inside[0]) + 1]
        for module in imported_modules(source):
            if module.startswith(f"fastreid_ext.{package}."):
                assert module.split(".")[2] in below, f"{source} must not import {module}"


def test_the_law_knows_every_module():
    assert set(ALLOWED) == {layer_of(source) for source in SOURCES}


def test_the_table_of_the_document_is_the_law():
    text = (PACKAGE.parent / "ARCHITECTURE.md").read_text()
    rows = dict(re.findall(TABLE_ROW, text, re.MULTILINE))
    assert rows.pop("tools") == "anything"
    table = {layer: set(re.findall(r"\w+", words)) for layer, words in rows.items()}
    assert table == {layer: allowed for layer, allowed in ALLOWED.items() if layer != "__init__"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_has_a_name_that_fits_everything(source):
    assert source.stem not in {"utils", "util", "common", "helpers", "helper", "misc", "core"}


def test_no_source_is_ignored_by_git():
    """A rule such as `datasets/` in .gitignore would leave data/datasets out of every clone."""
    if not (PACKAGE.parent / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", "*.py"]
    ignored = subprocess.run(
        command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = ("fastreid_ext/", "tools/", "tests/")
    assert not [path for path in ignored if path.startswith(folders)]
