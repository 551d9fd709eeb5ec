"""The command line, without starting it."""

import argparse
import runpy
from pathlib import Path

import cv2
import pytest

from fastreid_ext.rendered.preview import preview

TOOLS = Path(__file__).parents[2] / "tools"


def test_size_is_height_by_width():
    picture_size = runpy.run_path(str(TOOLS / "render_persons.py"))["picture_size"]
    assert picture_size("256x128") == (256, 128)
    with pytest.raises(
        argparse.ArgumentTypeError, match="expected HEIGHTxWIDTH such as 128x64, got '256'"
    ):
        picture_size("256")


def test_preview_is_one_sheet_and_no_data_set(tmp_path):
    preview(
        ["RenderedMall"], tmp_path / "new" / "look.png", seed=0, height=64, width=32, identities=1
    )
    assert cv2.imread(str(tmp_path / "new" / "look.png")).shape == (64 + 4, 12 * 34 + 2, 3)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["look.png"]


def test_benchmark_finds_every_stage():
    module = runpy.run_path(str(TOOLS / "benchmarks" / "rendering.py"))
    settings = module["Settings"]("RenderedMall", 1, 0, 4, 0)
    profile = module["cProfile"].Profile()
    assert profile.runcall(module["render"], settings) == 4
    assert set(module["stage_seconds"](profile)) == set(module["STAGES"])
