"""The Python code of docs/body_fits.md: results of 4D-Humans become fits that pass the check."""

import re
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.bodies.body_fits import BodyFits
from fastreid_ext.bodies.fits_check import fits_problems

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "body_fits.md"


@pytest.fixture
def blocks():
    return re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def result(name, shift):
    """Make the prediction of 4D-Humans for an upright person in a crop 64 wide and 128 tall."""
    return {
        "img_name": name,
        "img_size": np.array([64.0, 128.0]),
        "pred_cam": np.array([0.9, shift, 0.2]),
        "box_center": np.array([32.0, 64.0]),
        "box_size": 128.0,
        "global_orient": np.diag([1.0, -1.0, -1.0])[None],
        "body_pose": np.tile(np.eye(3), (23, 1, 1)),
        "betas": np.zeros(10),
    }


def test_saved_and_converted_results_pass_the_check(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saving, converting = blocks
    names = {}
    exec(saving, names)
    names["save_results"]([result("train/a.jpg", 0.0), result("train/b.jpg", 0.1)], "results.npz")
    folder = Path("datasets/Market-1501-v15.09.15")
    folder.mkdir(parents=True)
    exec(converting, {})
    fits = BodyFits.read(folder)
    assert fits.file_names.tolist() == ["train/a.jpg", "train/b.jpg"]
    assert fits_problems(fits) == []


def test_the_table_names_every_key(tmp_path):
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", DOCUMENT.read_text(), re.MULTILINE)
    keys = re.findall(r"\w+", " ".join(rows))
    assert sorted(keys) == sorted(BodyFits.__dataclass_fields__)
