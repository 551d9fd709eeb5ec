"""The gain curve of two tiny trainings, which the same command continues."""

import json

import pytest

from projects.DiffID.gain_curve import main, parse

from ...data.test_generated_persons import write_generated
from ...engine.tiny import overrides

RECIPE = """DATASETS:
  NAMES: ("Market1501",)
  TESTS: ("Market1501",)
"""


@pytest.mark.slow
def test_curve_of_tiny_trainings_continues(market_root, tmp_path):
    recipe = tmp_path / "reid.yml"
    recipe.write_text(RECIPE)
    folder = market_root / "Market-1501-v15.09.15" / "bounding_box_train"
    pids = sorted({int(path.name[:4]) for path in folder.glob("*.jpg")})
    root = write_generated(tmp_path / "generated", pids[:2])
    output = tmp_path / "curve"
    pairs = overrides(market_root, tmp_path / "unused", SOLVER__MAX_EPOCH=1)
    names = pairs.index("DATASETS.NAMES")
    del pairs[names : names + 2]
    arguments = parse(
        [
            *("--config-file", str(recipe), "--output", str(output), "--images", "4"),
            *("--sets", f"Other={root}", *pairs),
        ]
    )
    main(arguments)
    first = (output / "curve.json").read_text()
    assert [point["images"] for point in json.loads(first)["points"]] == [0, 4]
    table = (output / "curve.md").read_text()
    assert "and no test identity" in table
    assert "What its generator was trained on has not been checked." in table
    main(arguments)
    assert (output / "curve.json").read_text() == first
