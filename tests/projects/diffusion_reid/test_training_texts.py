import numpy as np
import pytest

from projects.DiffusionReID.miniature.training_texts import (
    QUESTIONS,
    sample_prompt,
    sample_question,
)

CAPTION = (
    "a man with no hair wearing a checked black and pink shirt, white shorts and a cap, "
    "with a red bag, using a phone, side view"
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_prompts_begin_with_the_person_half_of_the_time(rng):
    prompts = [sample_prompt(CAPTION, rng) for _ in range(2000)]
    bare = [prompt for prompt in prompts if prompt.startswith("a man with no hair wearing")]
    plain = [prompt for prompt in prompts if prompt.startswith("a photo of person, a man")]
    assert len(bare) / 2000 == pytest.approx(0.5, abs=0.04)
    assert len(plain) / 2000 == pytest.approx(0.4, abs=0.04)
    rest = set(prompts) - set(bare) - set(plain)
    assert all(prompt.split()[3].isalpha() and len(prompt.split()[3]) == 3 for prompt in rest)


def test_prompts_leave_out_a_tenth_of_the_clauses(rng):
    prompts = [sample_prompt(CAPTION, rng) for _ in range(2000)]
    for clause in CAPTION.split(", ")[1:]:
        assert sum(clause in prompt for prompt in prompts) / 2000 == pytest.approx(0.9, abs=0.03)


def test_answers_are_what_the_caption_says(rng):
    pairs = {sample_question(CAPTION, rng) for _ in range(200)}
    assert pairs == {
        ("", CAPTION),
        (QUESTIONS[0], "a checked black and pink shirt, white shorts and a cap"),
        (QUESTIONS[1], "a red bag"),
        (QUESTIONS[2], "using a phone"),
    }


def test_who_carries_nothing_carries_nothing(rng):
    caption = "a woman with long red hair wearing a red coat and black shoes, walking, back view"
    pairs = {sample_question(caption, rng) for _ in range(200)}
    assert (QUESTIONS[1], "nothing") in pairs
    assert (QUESTIONS[0], "a red coat and black shoes") in pairs


def test_other_captions_are_refused(rng):
    with pytest.raises(ValueError, match=r"expected a caption such as .*got 'a dog'; train on"):
        sample_question("a dog", rng)


def test_questions_are_those_of_the_configuration():
    from fastreid.config import get_cfg

    from fastreid_ext.config.defaults import add_fastreid_ext_config

    cfg = get_cfg()
    add_fastreid_ext_config(cfg)
    assert tuple(cfg.GENERATION.CAPTIONS.QUESTIONS) == QUESTIONS
