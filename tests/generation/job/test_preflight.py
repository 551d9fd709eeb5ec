"""What is wrong with the models of a job is said before it begins."""

import shutil

import pytest

from fastreid_ext.generation.job.folder import expect_same_settings, open_job
from fastreid_ext.generation.job.preflight import expect_models


def test_models_that_are_there_pass(settings_of, tmp_path):
    expect_models(settings_of(tmp_path, **{"FILTER.USE": ["clip"]}))
    expect_models(settings_of(tmp_path, **{"FINE_TUNING.METHOD": "full"}))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"BASE_MODEL": "a/b"}, r"'a/b' \(GENERATION.BASE_MODEL\) is neither .*DOWNLOAD True"),
        ({"CAPTIONS.CAPTIONER": "a/b"}, r"'a/b' \(GENERATION.CAPTIONS.CAPTIONER\) is neither"),
        ({"CAPTIONS.TEXT_MODEL": "a/b"}, r"'a/b' \(GENERATION.CAPTIONS.TEXT_MODEL\) is neither"),
        (
            {"FILTER.USE": ["clip"], "FILTER.CLIP.MODEL": "a/b"},
            r"'a/b' \(GENERATION.FILTER.CLIP.MODEL\) is neither",
        ),
        (
            {"SAMPLING.FEW_STEP_ADAPTER": "a/b"},
            r"'a/b' \(GENERATION.SAMPLING.FEW_STEP_ADAPTER\) is neither",
        ),
        ({"PROMPT.TOKEN": "zwxq"}, r"TOKEN to be one token of the vocabulary, got 'zwxq'"),
        ({"SAMPLING.SCHEDULER": "DDIMSchedular"}, r"did you mean 'DDIMScheduler'\?"),
        ({"SAMPLING.STEPS": 1001}, r"SAMPLING.STEPS of at most 1000, .* got 1001; 20 to 50"),
        ({"FINE_TUNING.TARGET_MODULES": ["to_qq"]}, r"no layer 'to_qq' .* did you mean 'to_q'\?"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    settings_of, tmp_path, monkeypatch, keys, message
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    cfg = settings_of(tmp_path / "job", **keys)
    with (
        pytest.raises((FileNotFoundError, ValueError), match=message),
        open_job(cfg),
    ):
        pass
    assert not (tmp_path / "job").exists()


def test_a_job_that_has_begun_is_not_looked_at_again(settings_of, tmp_path):
    cfg = settings_of(tmp_path / "job", **{"BASE_MODEL": "a/b"})
    (tmp_path / "job").mkdir()
    expect_same_settings(cfg, tmp_path / "job")
    with open_job(cfg):
        pass


def test_captions_of_a_person_need_no_captioner(settings_of, tmp_path):
    keys = {"CAPTIONS.CAPTIONER": "a/b", "CAPTIONS.TEXT_MODEL": "a/b"}
    keys["REFERENCE_SET.MIN_SIMILARITY"] = 1.0
    (tmp_path / "captions.jsonl").write_text("")
    expect_models(settings_of(tmp_path, **keys))


def test_damaged_configurations_are_named(settings_of, tiny_pipeline_folder, tmp_path):
    for name in ("unet/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        folder = shutil.copytree(tiny_pipeline_folder, tmp_path / name.replace("/", "-"))
        (folder / name).write_text('{"a": ')
        with pytest.raises(ValueError, match=rf"expected .*JSON.* in \S+{name}, got.*again"):
            expect_models(settings_of(tmp_path, **{"BASE_MODEL": folder}))
