"""Refused configurations of the generation of images."""

import re

import pytest
from fastreid.config import CfgNode

from fastreid_ext.checks.generation import job_problems
from fastreid_ext.config import load_config

from ..tiny_cfg import tiny_cfg


def load(**keys: object) -> CfgNode:
    return tiny_cfg({f"GENERATION.{key}": value for key, value in keys.items()})


def test_defaults_are_good():
    assert load().GENERATION.SIZE == [512, 256]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"DTYPE": "bfloat"},
            "unknown name 'bfloat' in GENERATION.DTYPE; did you mean 'bfloat16'?",
        ),
        ({"CAPTIONS.AGGREGATION": "median"}, "did you mean 'medoid'?"),
        ({"FINE_TUNING.METHOD": "lore"}, "did you mean 'lora'?"),
        ({"FINE_TUNING.LOSS_ON": "noise"}, "known: prediction, sample"),
        ({"SAMPLING.RESIZE_MODE": "resiz"}, "did you mean 'resize'?"),
        ({"SAMPLING.FORMAT": "jpeg"}, "did you mean 'jpg'?"),
        ({"FILTER.REID.RULE": "percent"}, "did you mean 'percentile'?"),
        ({"FILTER.USE": "['reed']"}, "in GENERATION.FILTER.USE; did you mean 'reid'?"),
        ({"SIZE": "[100, 50]"}, "expected GENERATION.SIZE [height, width] in pixels, multiples"),
        ({"SIZE": "[512]"}, "GENERATION.SIZE [height, width]"),
        ({"SAMPLING.SAVE_SIZE": "[256, 0]"}, "expected GENERATION.SAMPLING.SAVE_SIZE [height"),
        (
            {"IDENTITIES.MIN_IMAGES": 0},
            "IDENTITIES.MIN_IMAGES of at least 1, got 0",
        ),
        ({"IDENTITIES.MAX_IMAGES": 1}, "MAX_IMAGES 0 or at least MIN_IMAGES, got 1 and 2"),
        ({"REFERENCE_SET.MIN_SIMILARITY": 1.5}, "MIN_SIMILARITY in [-1, 1], got 1.5"),
        ({"SAMPLING.QUALITY": 100}, "expected GENERATION.SAMPLING.QUALITY in [1, 95], got 100"),
        ({"FILTER.REID.PERCENTILE": 101.0}, "PERCENTILE in [0, 100], got 101.0"),
        ({"FINE_TUNING.BASE_LR": 0.0}, "BASE_LR in (0, 1], got 0.0; at 0 no weight would change"),
        ({"FINE_TUNING.BASE_LR": 1.5}, "expected GENERATION.FINE_TUNING.BASE_LR in (0, 1]"),
        (
            {"FINE_TUNING.TEXT_ENCODER": True},
            "TEXT_ENCODER is True (default False) but is not",
        ),
        ({"FINE_TUNING.TARGET_MODULES": "[]"}, "to_q, to_k, to_v, to_out.0 are usual"),
        ({"FINE_TUNING.PRIOR_WEIGHT": 0.0}, "would be generated for nothing; set IMAGES 0"),
        ({"PROMPT.TEMPLATE": "a {tokn} person"}, "unknown field '{tokn}' in GENERATION.PROMPT"),
        ({"PROMPT.TEMPLATE": "a {token person"}, "write {token} and {caption}"),
        ({"PROMPT.TEMPLATE": "a {caption}"}, "PROMPT.TOKEN is 'sks' but PROMPT.TEMPLATE has no"),
        ({"PROMPT.TOKEN": "two words"}, "expected GENERATION.PROMPT.TOKEN without spaces"),
        (
            {"PROMPT.TOKEN": "", "PROMPT.TRAIN_TOKEN": True},
            "name the token the new one starts from",
        ),
        ({"CAPTIONS.QUESTIONS": "[]"}, "QUESTIONS is empty; ask at least one"),
        (
            {"SAMPLING.GUIDANCE_SCALE": 1.0, "SAMPLING.NEGATIVE_PROMPT": "blurred"},
            "because GENERATION.SAMPLING.GUIDANCE_SCALE is 1.0; remove it, or set GENE",
        ),
        ({"FILTER.USE": "['reid', 'reid']"}, "expected each filter once"),
        (
            {"FILTER.MAX_PER_IDENTITY": 3, "FILTER.MIN_PER_IDENTITY": 4},
            "MAX_PER_IDENTITY 0 or at least MIN_PER_IDENTITY, got 3 and 4",
        ),
        ({"FILTER.REID.NEAREST": False}, "RULE is nearest but NEAREST is False, so every image"),
        ({"FILTER.CLIP.TEXTS": "['a person']"}, "something to compare it with"),
    ],
)
def test_mistakes_are_named(keys, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(**keys)


def test_a_job_needs_what_a_training_does_not():
    [problem] = (text for text in job_problems(load()) if "FILTER" in text and "CONFIG" in text)
    assert "GENERATION.FILTER.REID.CONFIG_FILE is empty; train a model on the source" in problem
    assert job_problems(load(**{"FILTER.USE": "[]"})) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"FILTER.REID.WEIGHTS": "/no/such.pth"},
            "no file at /no/such.pth (GENERATION.FILTER.REID",
        ),
        (
            {"FILTER.REID.MODELS": "[['Market1501', '/no/such.yaml']]"},
            "expected GENERATION.FILTER.REID.MODELS as [[data set, config.yaml, model.pth], ...]",
        ),
        (
            {"FILTER.REID.MODELS": f"[['NoSet', '{__file__}', '{__file__}']]"},
            "GENERATION.FILTER.REID.MODELS names NoSet, which is not in DATASETS.NAMES",
        ),
        (
            {"FILTER.REID.MODELS": f"[['Market1501', '{__file__}', '/no/such.pth']]"},
            "no file at /no/such.pth (GENERATION.FILTER.REID.MODELS, Market1501)",
        ),
        (
            {"FILTER.CCTF.WEIGHTS": "/no/such.pth"},
            "no file at /no/such.pth (GENERATION.FILTER.CCTF",
        ),
        (
            {"FILTER.USE": "['clip']", "FILTER.REID.WEIGHTS": __file__},
            f"GENERATION.FILTER.REID names {__file__}, but its CONFIG_FILE is empty; name both",
        ),
        ({"DTYPE": "float16"}, "GENERATION.DTYPE is float16, in which small gradients become 0"),
        ({"BASE_MODEL": "/no/such"}, "no folder at /no/such (GENERATION.BASE_MODEL); give the id"),
        ({"CAPTIONS.CAPTIONER": "a/b/c"}, "no folder at a/b/c (GENERATION.CAPTIONS.CAPTIONER)"),
        (
            {"FILTER.USE": "['clip']", "FILTER.CLIP.MODEL": "./clip"},
            "no folder at ./clip (GENERATION.FILTER.CLIP.MODEL)",
        ),
    ],
)
def test_what_a_job_lacks_is_named_before_it_begins(keys, message):
    assert any(message in problem for problem in job_problems(load(**keys)))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            ["DATASETS.NAMES", "('GeneratedPersons',)", "DATASETS.GENERATED.ROOTS", "['x']"],
            "on real images",
        ),
        (["OUTPUT_DIR", ""], "OUTPUT_DIR is empty; name the folder"),
        (["DATASETS.NAMES", "()"], "DATASETS.NAMES is empty; name the data sets"),
    ],
)
def test_a_job_needs_real_images_and_a_folder(pairs, message):
    cfg = load_config("", ["MODEL.DEVICE", "cpu", "GENERATION.FILTER.USE", "[]", *pairs])
    [problem] = job_problems(cfg)
    assert message in problem


def test_a_job_needs_identities():
    cfg = load(**{"FILTER.USE": "[]"}).clone()
    cfg.defrost()
    cfg.DATASETS.NAMES = ("UnlabelledPersons",)
    assert any("it has no identities; name a labelled set" in text for text in job_problems(cfg))
