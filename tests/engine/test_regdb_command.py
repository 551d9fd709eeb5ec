"""The ten models of RegDB by one command, killed and continued."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data.protocols import REGDB_TRIALS

from .regdb_command import IDENTITIES, IMAGES
from .tiny import assert_equal_checkpoints, overrides

REPOSITORY = Path(__file__).resolve().parents[2]
# 16 training images in batches of 8, two epochs: four steps a model.
STEPS = 4


@pytest.fixture
def root(tmp_path):
    """Write RegDB with eight identities and ten trials that choose four to train on."""
    folder = tmp_path / "datasets/RegDB"
    (folder / "idx").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for pid in range(2 * IDENTITIES):
        colour = rng.integers(40, 216, 3)
        for kind in ("Visible", "Thermal"):
            (folder / kind / str(pid)).mkdir(parents=True)
            for number in range(IMAGES):
                image = rng.normal(0, 10, (64, 32, 3)) + colour
                if kind == "Thermal":
                    image = image[..., :1].repeat(3, axis=2)
                pixels = np.clip(image, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / kind / str(pid) / f"{number}.bmp")
    for trial in range(1, len(REGDB_TRIALS) + 1):
        order = rng.permutation(2 * IDENTITIES).tolist()
        for split, pids in (("train", order[:IDENTITIES]), ("test", order[IDENTITIES:])):
            for kind in ("Visible", "Thermal"):
                lines = [
                    f"{kind}/{pid}/{number}.bmp {label}"
                    for label, pid in enumerate(pids)
                    for number in range(IMAGES)
                ]
                file = folder / f"idx/{split}_{kind.lower()}_{trial}.txt"
                file.write_text("\n".join(lines) + "\n")
    return folder.parent


def ten_models(root, output, *, killed_before=-1):
    """Run the command; return its exit code."""
    recipe = root / "tiny.yml"
    recipe.write_text("MODEL: {META_ARCHITECTURE: Baseline}\n")
    pairs = overrides(
        root,
        output,
        DATALOADER__SAMPLER_TRAIN="CrossModalitySampler",
        DATALOADER__NUM_INSTANCE=4,
        DATALOADER__NUM_WORKERS=0,
    )
    place = pairs.index("OUTPUT_DIR")
    del pairs[place : place + 2]
    command = ["--protocol", "regdb", "--config-file", str(recipe), "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.regdb_command", str(killed_before), *command, *pairs],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


def folders(output):
    return [output / "runs/tiny" / trial / "all/seed0" for trial in REGDB_TRIALS]


@pytest.mark.slow
def test_killed_and_continued_it_equals_the_uninterrupted_one(root, tmp_path):
    killed = tmp_path / "killed"
    # In the second epoch of the third model, and again in the first of the fifth.
    assert ten_models(root, killed, killed_before=2 * STEPS + 3) == -signal.SIGKILL
    assert [folder.is_dir() for folder in folders(killed)] == [True] * 3 + [False] * 7
    assert not (folders(killed)[2] / "model_final.pth").exists()
    assert (folders(killed)[2] / "last_checkpoint").is_file()
    assert ten_models(root, killed, killed_before=STEPS // 2 + STEPS + 1) == -signal.SIGKILL
    assert [folder.is_dir() for folder in folders(killed)] == [True] * 5 + [False] * 5
    assert ten_models(root, killed) == 0
    whole = tmp_path / "whole"
    assert ten_models(root, whole) == 0
    for ours, theirs in zip(folders(killed), folders(whole), strict=True):
        assert_equal_checkpoints(ours, theirs)
    tables = [json.loads((output / "matrix.json").read_text()) for output in (killed, whole)]
    assert tables[0]["cells"] == tables[1]["cells"]
    assert (killed / "matrix.md").read_text() == (whole / "matrix.md").read_text()
    for direction in ("visible_to_infrared", "infrared_to_visible"):
        assert f"RegDB_{direction}" in (whole / "matrix.md").read_text()
