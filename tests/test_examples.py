"""Examples in docstrings are true: those of each module run as doctests.

An example that needs files is a literal block (``Example::``) without the prompt ``>>>``.
"""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def module_name(source):
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = [
    module_name(source)
    for source in sorted((ROOT / "fastreid_ext").rglob("*.py"))
    if ">>> " in source.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_module(name, capsys):
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted, f"doctest finds no docstring with the examples of {name}"
    assert not failed, capsys.readouterr().out
