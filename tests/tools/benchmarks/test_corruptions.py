"""The benchmark of the corruptions: its images, its arithmetic, and the tool itself."""

import runpy
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.corruptions.cpu import CORRUPTION_NAMES
from measuring.corruptions import (
    milliseconds_per_image,
    person_like,
    ratio_table,
    summary,
)

TOOL = Path(__file__).parents[3] / "tools" / "benchmarks" / "corruptions.py"


def test_images_are_like_persons_and_repeat():
    image = person_like(64, 33, 0)
    assert image.shape == (64, 33, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, person_like(64, 33, 0))
    assert (image != person_like(64, 33, 1)).any()
    assert 20 < image.std() < 120


def spend(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_times_are_per_image_and_mixes_are_means():
    methods = {"slow": lambda image, name: spend(4e-3), "quick": lambda image, name: spend(1e-3)}
    rows = milliseconds_per_image(methods, CORRUPTION_NAMES[:15], [None] * 2, rounds=1)
    assert list(rows) == [*CORRUPTION_NAMES[:15], "mix of 15"]
    for slow, quick in rows.values():
        assert slow == pytest.approx(4, rel=0.3)
        assert quick == pytest.approx(1, rel=0.3)
    assert rows["mix of 15"][0] == pytest.approx(np.mean([row[0] for row in rows.values()]))
    text = ratio_table({"fog": [4.0, 1.0]}, ["slow", "quick"], ["quick"])
    assert "slow / quick" in text
    assert text.split()[-4:] == ["fog", "4.000", "1.000", "4.0"]
    assert summary({"fog": [4.0, 1.0]}, ["slow", "quick"], ["quick"]) == "mean: quick 4.0x slow"
    assert summary({"mix of 15": [6.0, 1.0], "fog": [4.0, 1.0]}, ["a", "b"], ["b"]) == (
        "mix of 15: b 6.0x a"
    )


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["corruptions", *arguments])
    tool = runpy.run_path(str(TOOL))
    tool["main"](tool["parse"]())


def test_the_tool_runs(monkeypatch, capsys):
    small = ("--height", "40", "--width", "33", "--rounds", "1", "--images", "1")
    run(monkeypatch, *small, "--severity", "2", "--names", "fog", "contrast")
    printed = capsys.readouterr().out
    assert "severity 2, 40x33" in printed
    assert printed.splitlines()[-1].startswith("severity 2, mean: reference ")


def test_says_how_to_get_imaug(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps --target .*imaug==1.1.5"):
        run(monkeypatch, "--imaug", str(tmp_path), "--names", "contrast")
