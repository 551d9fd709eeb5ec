"""Prompts, their length, the token, clusters."""

import numpy as np
import pytest
from fastreid.config import get_cfg
from transformers import CLIPTokenizer

from fastreid_ext.config import add_fastreid_ext_config
from fastreid_ext.generation.captions.captions_file import CaptionRow
from fastreid_ext.generation.captions.prompts import (
    Prompts,
    check_length,
    check_token,
    cluster_id,
    cluster_prompts,
    expect_room,
    expect_templates,
    fits,
    leaders_of,
    prompts_of,
    reference_cost,
    sampling_templates,
)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    return cfg


@pytest.fixture(scope="module")
def tokenizer(tiny_pipeline_folder):
    return CLIPTokenizer.from_pretrained(tiny_pipeline_folder, subfolder="tokenizer")


def row(caption, name="Market1501_0002"):
    return CaptionRow(name=name, caption=caption)


def test_reference_prompt_is_the_same_without_the_token(cfg):
    assert prompts_of(row("red coat, walking"), cfg) == Prompts(
        identity="a photo of sks person, red coat, walking",
        reference="a photo of person, red coat, walking",
    )


@pytest.mark.parametrize(
    ("template", "token", "caption", "expected"),
    [
        ("a photo of {token} person, {caption}", "", "red coat.", "a photo of person, red coat"),
        ("{caption}, {token}", "sks", " red coat, ", "red coat, sks"),
        ("{token}, {caption}", "", "red coat", "red coat"),
        ("photo of a {token} person", "sks", "", "photo of a sks person"),
        ("a {token} {caption} .", "sks", "{token} {odd}", "a sks {token} {odd}."),
    ],
)
def test_template_is_filled_in_without_left_overs(cfg, template, token, caption, expected):
    cfg.GENERATION.PROMPT.TEMPLATE = template
    cfg.GENERATION.PROMPT.TOKEN = token
    assert prompts_of(row(caption), cfg).identity == expected


def test_no_token_means_equal_prompts_and_a_trained_one_is_the_identitys(cfg):
    cfg.GENERATION.PROMPT.TOKEN = ""
    prompts = prompts_of(row("red coat"), cfg)
    assert prompts.identity == prompts.reference == "a photo of person, red coat"
    cfg.GENERATION.PROMPT.TOKEN = "sks"
    cfg.GENERATION.PROMPT.TRAIN_TOKEN = True
    prompts = prompts_of(row("red coat"), cfg)
    assert prompts.identity == "a photo of <Market1501_0002> person, red coat"
    assert prompts.reference == "a photo of person, red coat"


@pytest.mark.parametrize("caption", ["", "  ", " , ."])
def test_empty_caption_says_what_to_write_where(cfg, caption):
    with pytest.raises(ValueError, match="caption of Market1501_0002 is empty; write one into"):
        prompts_of(row(caption), cfg)


def test_length_is_counted_with_both_ends(tokenizer):
    most = " ".join(["walking"] * 75)
    check_length(tokenizer, most)
    with pytest.raises(ValueError, match=r"at most 77 tokens, got 78: it would be cut after") as e:
        check_length(tokenizer, f"{most.removesuffix('walking')}standing person")
    assert "'... walking walking walking walking walking standing'" in str(e.value)


def test_what_fits_is_what_check_length_accepts(cfg, tokenizer):
    caption = ", ".join(["red coat"] * 30)
    lengths = [n for n in range(1, 31) if fits(tokenizer, cfg, ", ".join(["red coat"] * n))]
    assert not fits(tokenizer, cfg, caption)
    check_length(tokenizer, prompts_of(row(", ".join(["red coat"] * lengths[-1])), cfg).identity)
    longer = prompts_of(row(", ".join(["red coat"] * (lengths[-1] + 1))), cfg).identity
    with pytest.raises(ValueError, match="at most 77"):
        check_length(tokenizer, longer)


def test_token_must_be_one_token(tokenizer):
    check_token(tokenizer, "sks")
    check_token(tokenizer, "")
    with pytest.raises(ValueError, match=r"one token of the vocabulary, got 'xqz', which is x \+"):
        check_token(tokenizer, "xqz")


def features_of(vectors):
    def features(texts):
        rows = np.array([vectors[text] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return features


def test_clusters_by_hand():
    # Angles 0, 20, 40 and 90 degrees; cos 25 degrees = 0.906.
    angles = {"zero": 0, "twenty": 20, "forty": 40, "ninety": 90}
    vectors = {t: (np.cos(np.radians(a)), np.sin(np.radians(a))) for t, a in angles.items()}
    references = {"p1": "zero", "p2": "twenty", "p3": "forty", "p4": "ninety", "p5": "forty"}
    clusters = cluster_prompts(references, features_of(vectors), 0.906)
    # "forty" is near "twenty", but that is no leader; "zero" is too far.
    assert clusters == {
        "p1": cluster_id("zero"),
        "p2": cluster_id("zero"),
        "p3": cluster_id("forty"),
        "p4": cluster_id("ninety"),
        "p5": cluster_id("forty"),
    }
    assert leaders_of(references, clusters) == {
        cluster_id(text): text for text in ("zero", "forty", "ninety")
    }


def test_nearest_leader_is_joined_and_the_order_of_the_dict_does_not_matter():
    vectors = {"a": (1, 0), "b": (0.6, 0.8), "c": (0.75, 0.66)}
    references = {"p1": "a", "p2": "b", "p3": "c"}
    clusters = cluster_prompts(references, features_of(vectors), 0.7)
    assert clusters["p3"] == clusters["p2"] == cluster_id("b")
    turned = dict(reversed(references.items()))
    assert cluster_prompts(turned, features_of(vectors), 0.7) == clusters


def test_similarity_1_is_equal_prompts_and_asks_no_model():
    def unused(_):
        raise AssertionError

    assert cluster_prompts({"x": "a", "y": "a", "z": "b"}, unused, 1.0) == {
        "x": cluster_id("a"),
        "y": cluster_id("a"),
        "z": cluster_id("b"),
    }


def test_similarity_minus_1_is_one_set_and_none_are_no_clusters():
    vectors = {"a": (1, 0), "b": (-0.9, 0.1)}
    clusters = cluster_prompts({"x": "a", "y": "b"}, features_of(vectors), -1.0)
    assert set(clusters.values()) == {cluster_id("a")}
    assert cluster_prompts({}, features_of({}), 1.0) == {}


def test_prompts_of_sampling(cfg):
    cfg.GENERATION.SAMPLING.PROMPTS = [
        "{prompt}, seen from behind",
        "a photo of {token} person in a black coat",
    ]
    found = prompts_of(row("red coat"), cfg)
    assert found.identity == "a photo of sks person, red coat"
    assert found.reference == "a photo of person, red coat"
    assert found.sampled == (
        "a photo of sks person, red coat, seen from behind",
        "a photo of sks person in a black coat",
    )
    cfg.GENERATION.SAMPLING.PROMPTS = []
    assert prompts_of(row("{red} coat"), cfg).sampled == ("a photo of sks person, {red} coat",)


def test_prompts_of_sampling_from_a_file(cfg, tmp_path):
    sampling = cfg.GENERATION.SAMPLING
    file = tmp_path / "prompts.txt"
    sampling.PROMPTS_FILE = str(file)
    with pytest.raises(FileNotFoundError, match=r"prompts.txt \(GENERATION.SAMPLING.PROMPTS_FILE"):
        sampling_templates(cfg)
    file.write_text("\n")
    with pytest.raises(ValueError, match=r"one template a line in .*prompts.txt .*got an empty"):
        sampling_templates(cfg)
    file.write_text("{prompt}, walking\n\n{prompt}\n")
    assert sampling_templates(cfg) == ("{prompt}, walking", "{prompt}")
    sampling.PROMPTS = ["{prompt}"]
    with pytest.raises(ValueError, match="PROMPTS or PROMPTS_FILE, got both"):
        sampling_templates(cfg)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{promt}, walking",
            "unknown field '{promt}' in '{promt}, walking' of GENERATION.SAMPLING",
        ),
        ("{prompt", "expected '}' before end of string; write {prompt}"),
        ("a man, {caption}", "expected {prompt} or {token} in 'a man, {caption}' of .*got neither"),
    ],
)
def test_templates_of_sampling_that_cannot_work(cfg, template, message):
    cfg.GENERATION.SAMPLING.PROMPTS = [template]
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("}", r"\}")):
        expect_templates(cfg)


def test_prompts_of_sampling_must_leave_room(cfg, tokenizer):
    cfg.GENERATION.SAMPLING.PROMPTS = ["{prompt}", "{prompt}" + " red" * 80]
    with pytest.raises(ValueError, match=r"SAMPLING.PROMPTS to leave room for a caption within 77"):
        expect_room(tokenizer, cfg)
    cfg.GENERATION.SAMPLING.PROMPTS = ["{prompt}" + " red" * 50]
    expect_room(tokenizer, cfg)
    long = ", ".join(["red coat"] * 15)
    assert not fits(tokenizer, cfg, long)
    cfg.GENERATION.SAMPLING.PROMPTS = []
    assert fits(tokenizer, cfg, long)


def test_reference_cost_is_summarised(cfg):
    generation = cfg.GENERATION
    generation.REFERENCE_SET.IMAGES = 200
    generation.SAMPLING.IMAGES_PER_IDENTITY = 150
    text = reference_cost(600, 751, cfg)
    assert text.startswith("600 reference sets for 751 identities: 120,000 images of 50 steps")
    assert "52% of all that are generated (112,650 of the identities" in text
    assert text.endswith("IMAGES makes each smaller")
    assert "MIN_SIMILARITY" not in reference_cost(10, 751, cfg)
