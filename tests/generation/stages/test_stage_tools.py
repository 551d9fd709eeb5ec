"""The commands of stages 3 and 5, run in this process, with that of stage 4 between them."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastreid_ext.manifest import read_identity

TOOLS = Path(__file__).resolve().parents[3] / "tools"
NAMES = [f"PersonFolder_000{n}" for n in (1, 2, 3)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tiny_pipeline_folder):
    """Of a job with three persons who have captions."""
    root = tmp_path_factory.mktemp("market")
    output = tmp_path_factory.mktemp("job")
    rng = np.random.default_rng(0)
    folder = root / "bounding_box_train"
    folder.mkdir()
    for person in (1, 2, 3):
        for frame in (1, 2):
            image = rng.integers(0, 255, (64, 32, 3), np.uint8)
            cv2.imwrite(str(folder / f"{person:04d}_c1s1_{frame:06d}_00.jpg"), image)
    for other in ("query", "bounding_box_test"):
        shutil.copytree(folder, root / other)
    captions = ["a black coat", "red shorts", "a black coat"]
    rows = [{"name": n, "caption": c} for n, c in zip(NAMES, captions, strict=True)]
    (output / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys = {
        "BASE_MODEL": tiny_pipeline_folder,
        "DTYPE": "float32",
        "SIZE": [32, 16],
        "REFERENCE_SET.IMAGES": 2,
        "REFERENCE_SET.MIN_SIMILARITY": 1.0,
        "FINE_TUNING.STEPS": 2,
        "SAMPLING.IMAGES_PER_IDENTITY": 2,
        "SAMPLING.STEPS": 2,
        "SAMPLING.BATCH_SIZE": 4,
        "SAMPLING.SAVE_SIZE": [32, 16],
        "FILTER.USE": ["duplicates"],
    }
    pairs = {f"GENERATION.{key}": value for key, value in keys.items()}
    pairs |= {"MODEL.DEVICE": "cpu", "OUTPUT_DIR": output}
    return pairs | {"DATASETS.NAMES": ("PersonFolder",), "DATASETS.FOLDER": root}


@pytest.fixture
def run(settings, monkeypatch, capsys):
    def run_tool(command, *flags, **keys):
        changed = settings | {f"GENERATION.{key}": value for key, value in keys.items()}
        if not changed["GENERATION.REFERENCE_SET.IMAGES"]:
            changed.pop("GENERATION.REFERENCE_SET.MIN_SIMILARITY")  # not read without them
        words = [str(part) for pair in changed.items() for part in pair]
        monkeypatch.setattr(sys, "argv", ["generate_persons.py", command, *flags, *words])
        runpy.run_path(str(TOOLS / "generate_persons.py"), run_name="__main__")
        return capsys.readouterr().out

    return run_tool


def test_stage_by_stage(run, settings):
    output = settings["OUTPUT_DIR"]
    out = run("reference")
    assert "2 reference sets generated, 0 were there, 0 failed, for 3 identities" in out
    assert len([*output.glob("reference_sets/*/grid.png")]) == 2
    assert "0 reference sets generated, 2 were there" in run("reference")

    assert "0 identities generated, 0 were, 0 failed, 3 are not fine-tuned yet" in run("sample")
    run("fine-tune", "--persons", ",".join(NAMES[:2]))
    out = run("sample", "--persons", NAMES[1])
    assert "1 identities generated, 0 were, 0 failed, 0 are not fine-tuned yet" in out
    out = run("sample")
    assert "1 identities generated, 1 were, 0 failed, 1 are not fine-tuned yet" in out
    for name in NAMES[:2]:
        rows = read_identity(output / "images" / name)
        assert [row.image.status for row in rows] == ["ok", "ok"]
        assert all(row.path.is_file() for row in rows)
    assert not (output / "images" / NAMES[2]).exists()


@pytest.mark.parametrize("command", ["fine-tune", "sample"])
def test_asks_for_persons_of_the_job(run, capsys, command):
    with pytest.raises(SystemExit):
        run(command, "--persons", "PersonFolder_0009")
    said = capsys.readouterr().err
    assert "error: unknown --persons PersonFolder_0009; captioned identities of this job: P" in said
    assert "Traceback" not in said


def test_a_job_without_reference_sets_says_so(run, capsys):
    with pytest.raises(SystemExit):
        run("reference", **{"REFERENCE_SET.IMAGES": 0})
    assert "error: GENERATION.REFERENCE_SET.IMAGES is 0: this job has no" in capsys.readouterr().err
