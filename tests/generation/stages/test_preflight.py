"""Faults of a job's models are reported before it begins."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from fastreid_ext.generation.stages.folder import expect_same_settings, open_job
from fastreid_ext.generation.stages.preflight import expect_models


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
        (
            {"SAMPLING.NEGATIVE_PROMPT": "red " * 80},
            r"SAMPLING.NEGATIVE_PROMPT of at most 77 tokens, got \d+; shorten it",
        ),
        (
            {"PROMPT.TEMPLATE": "{token} {caption}" + " red" * 80},
            r"PROMPT.TEMPLATE to leave room for a caption within 77 tokens, got \d+ with",
        ),
        ({"SAMPLING.STEPS": 1001}, r"SAMPLING.STEPS of at most 1000, .* got 1001; 20 to 50"),
        ({"FINE_TUNING.TARGET_MODULES": ["to_qq"]}, r"'to_qq' in .*MODULES; did you mean 'to_q'\?"),
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


def without(path, part):
    tensors = {key: tensor for key, tensor in load_file(path).items() if part not in key}
    save_file(tensors, path, metadata={"format": "pt"})


def under_another_prefix(path):
    tensors = {f"encoder_of_texts.{key}": tensor for key, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def older(path):
    settings = json.loads(path.read_text()) | {"num_query_tokens": None}
    path.write_text(json.dumps(settings))


UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("key", "model", "file", "harm", "message"),
    [
        ("BASE_MODEL", "pipeline", UNET, lambda p: without(p, "conv_in.bias"), rf"{UNET}, got"),
        ("BASE_MODEL", "pipeline", VAE, lambda p: without(p, "conv_in.bias"), rf"{VAE}, got"),
        (
            "BASE_MODEL",
            "pipeline",
            "text_encoder/model.safetensors",
            under_another_prefix,
            r"text_encoder/model.safetensors \(GENERATION.BASE_MODEL\).*another prefix",
        ),
        (
            "BASE_MODEL",
            "pipeline",
            "tokenizer/tokenizer.json",
            Path.unlink,
            r"vocabulary of a CLIP tokenizer in \S+harmed/tokenizer",
        ),
        (
            "CAPTIONS.TEXT_MODEL",
            "clip",
            "model.safetensors",
            lambda p: without(p, "text_projection"),
            r"harmed/model.safetensors \(GENERATION.CAPTIONS.TEXT_MODEL\).*text_projection",
        ),
        (
            "FILTER.CLIP.MODEL",
            "clip",
            "model.safetensors",
            lambda p: without(p, "visual_projection"),
            r"harmed/model.safetensors \(GENERATION.FILTER.CLIP.MODEL\).*visual_projection",
        ),
        (
            "FILTER.CLIP.MODEL",
            "clip",
            "tokenizer.json",
            Path.unlink,
            r"vocabulary of a CLIP tokenizer in \S+harmed",
        ),
        (
            "CAPTIONS.CAPTIONER",
            "blip2",
            "processor_config.json",
            older,
            r"image token\(s\) in each question to \S+harmed .*processor_config.json",
        ),
        (
            "CAPTIONS.CAPTIONER",
            "blip2",
            "model.safetensors",
            lambda p: without(p, "language_projection"),
            r"harmed/model.safetensors \(GENERATION.CAPTIONS.CAPTIONER\).*language_projection",
        ),
    ],
)
def test_models_that_would_work_on_noise_are_refused_before_anything_is_written(
    settings_of, request, tmp_path, key, model, file, harm, message
):
    folder = shutil.copytree(request.getfixturevalue(f"tiny_{model}_folder"), tmp_path / "harmed")
    harm(folder / file)
    cfg = settings_of(tmp_path / "job", **{"FILTER.USE": ["clip"], key: folder})
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
