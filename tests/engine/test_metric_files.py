"""metrics.json holds each iteration once, whatever happened before."""

import json

from fastreid_ext.engine.metric_files import prepare_folder


def test_resume_drops_lines_past_the_checkpoint_and_a_cut_line(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": iteration}) + "\n" for iteration in (1, 3, 5, 7)]
    path.write_text("".join(lines) + '{"iteration": 2, "lo')
    prepare_folder(tmp_path, 6)
    assert path.read_text() == "".join(lines[:3])


def test_new_run_keeps_the_earlier_runs_files_under_another_name(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "last_checkpoint").write_text("model_0004.pth")
    prepare_folder(tmp_path, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last_checkpoint.old",
        "metrics.json.old",
    ]


def test_remains_of_a_killed_write_are_removed(tmp_path):
    (tmp_path / ".model_0001.pth.partial").write_text("half")
    prepare_folder(tmp_path, 6)
    assert not list(tmp_path.iterdir())


def test_empty_folder_stays_empty(tmp_path):
    prepare_folder(tmp_path, 0)
    prepare_folder(tmp_path, 5)
    assert not list(tmp_path.iterdir())
