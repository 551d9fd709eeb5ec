"""The folders on disk: names, determinism, resume, errors."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastreid_ext.rendered.plan import FOLDERS, Settings
from fastreid_ext.rendered.writer import render_domain

TOOL = Path(__file__).parents[2] / "tools" / "render_persons.py"


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_names_and_folders_are_those_of_market(rendered, rows):
    files = [row["file"] for row in rows]
    assert sorted(files) == sorted(name for name in contents(rendered) if name.endswith(".jpg"))
    for row in rows:
        folder, name = row["file"].split("/")
        name = re.fullmatch(r"(\d{4})_c([1-6])s([1-8])_\d{6}_00\.jpg", name)
        assert [int(part) for part in name.groups()] == [row["pid"], row["camera"], row["session"]]
        assert folder in FOLDERS
        assert (folder == "bounding_box_train") == (row["pid"] <= 4)


def test_pictures_decode_at_the_size_asked_and_match_their_hash(rendered, rows):
    for row in rows:
        data = (rendered / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert cv2.imread(str(rendered / row["file"])).shape == (128, 64, 3)


def test_infrared_is_query_and_visible_is_gallery(rows):
    test_rows = [row for row in rows if row["pid"] > 4]
    assert {row["modality"] for row in test_rows if row["file"].startswith("query")} == {"infrared"}
    assert {row["modality"] for row in test_rows if row["file"].startswith("bound")} == {"visible"}
    assert {row["camera"] for row in rows if row["modality"] == "infrared"} <= {3, 6}


def test_dataset_json_counts_what_is_there(rendered, rows):
    description = json.loads((rendered / "dataset.json").read_text())
    assert sum(description["images"].values()) == len(rows) == 8 * 6
    assert description["settings"]["seed"] == 7
    assert not (rendered / ".work").exists()
    assert cv2.imread(str(rendered / "contact_sheet.png")) is not None


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_workers(rendered, small, tmp_path):
    other = render_domain(Settings("RenderedVI", **small), tmp_path, workers=2)
    assert contents(other) == contents(rendered)


@pytest.mark.slow
def test_a_killed_run_is_finished_by_running_it_again(rendered, small, tmp_path):
    command = [
        sys.executable,
        str(TOOL),
        "--domain",
        "RenderedVI",
        "--root",
        str(tmp_path),
        "--workers",
        "1",
    ]
    for key, value in small.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    environment = os.environ | {"PYTHONPATH": str(TOOL.parents[1])}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    work = tmp_path / "RenderedVI" / ".work"
    for _ in range(3000):  # until the second identity is in place
        if len(list(work.glob("*.jsonl"))) >= 2 or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = {path.name: path.stat().st_mtime_ns for path in work.glob("*.jsonl")}
    assert 2 <= len(finished) < 8
    pictures = {path: path.stat().st_mtime_ns for path in work.parent.rglob("000[12]_*.jpg")}

    folder = render_domain(Settings("RenderedVI", **small), tmp_path)

    assert contents(folder) == contents(rendered)
    for path, changed in pictures.items():
        assert path.stat().st_mtime_ns == changed, f"{path} was rendered twice"


def test_a_finished_folder_is_left_alone(rendered, small):
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*")}
    render_domain(Settings("RenderedVI", **small), rendered.parent)
    assert before == {path: path.stat().st_mtime_ns for path in rendered.rglob("*")}


def test_other_settings_in_the_same_folder_are_refused(rendered, small):
    with pytest.raises(
        ValueError, match=r"got another data set \(seed was 7, is 8\); remove the folder"
    ):
        render_domain(Settings("RenderedVI", **(small | {"seed": 8})), rendered.parent)
    with pytest.raises(ValueError, match="height was 128, is 64; width was 64, is 32"):
        render_domain(Settings("RenderedVI", **small, height=64, width=32), rendered.parent)


def test_somebody_elses_pictures_are_not_mixed_with_ours(tmp_path, small):
    (tmp_path / "RenderedMall" / "query").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"got picture folders without dataset.json; remove them"):
        render_domain(Settings("RenderedMall", **small), tmp_path)


def test_another_seed_gives_other_pictures_and_size_is_height_by_width(rendered, tmp_path, small):
    fewer = small | {
        "train_identities": 1,
        "test_identities": 0,
        "images_per_identity": 4,
        "seed": 8,
    }
    folder = render_domain(Settings("RenderedVI", **fewer, height=96, width=40), tmp_path)
    pictures = list(folder.rglob("*.jpg"))
    assert len(pictures) == 4
    assert {cv2.imread(str(path)).shape for path in pictures} == {(96, 40, 3)}
    assert not set(contents(folder).values()) & set(contents(rendered).values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images_per_identity": 3}, r"expected images_per_identity >= 4 .* got 3"),
        (
            {"train_identities": 0, "test_identities": 0},
            "at least one in all, got 0 for training and 0 for test",
        ),
        ({"seed": -1}, "expected a seed >= 0, got -1"),
        ({"unusual_poses": 1.5}, r"expected unusual_poses in \[0, 1\], got 1.5"),
        ({"height": 8}, r"expected a size between 32x16 and 1024x1024 .* got 8x64"),
    ],
)
def test_settings_are_checked_before_work(change, words, small, tmp_path):
    with pytest.raises(ValueError, match=words):
        render_domain(Settings("RenderedMall", **(small | change)), tmp_path)
    with pytest.raises(ValueError, match="expected workers >= 1, got 0"):
        render_domain(Settings("RenderedMall", **small), tmp_path, workers=0)
    assert not list(tmp_path.iterdir())


def test_unusual_poses_are_a_share_of_the_pictures(rendered, rows, small, tmp_path):
    folder = render_domain(Settings("RenderedVI", **small, unusual_poses=1.0), tmp_path)
    unusual = [json.loads(line) for line in (folder / "annotations.jsonl").open()]
    assert {row["pose_name"] for row in unusual} == {"unusual"}
    assert "moving in an unusual way" in unusual[0]["caption"]
    assert "unusual" not in {row["pose_name"] for row in rows}
    bends = [np.abs(np.array([row["pose"] for row in each])).mean() for each in (unusual, rows)]
    assert bends[0] > 1.3 * bends[1]


def test_front_walkers_bias_the_training_images_alone(rendered, rows, small, tmp_path):
    folder = render_domain(Settings("RenderedVI", **small, front_walkers=True), tmp_path)
    biased = [json.loads(line) for line in (folder / "annotations.jsonl").open()]
    training = [row for row in biased if row["file"].startswith("bounding_box_train")]
    assert {row["pose_name"] for row in training} == {"walking"}
    assert max(abs(row["viewpoint"]["azimuth_deg"]) for row in training) <= 30
    assert [row for row in biased if row not in training] == [
        row for row in rows if not row["file"].startswith("bounding_box_train")
    ]


def test_an_unknown_domain_names_the_known_ones(small, tmp_path):
    with pytest.raises(ValueError, match=r"expected a domain of RenderedCampus, .* got 'Campus'"):
        render_domain(Settings("Campus", **small), tmp_path)
