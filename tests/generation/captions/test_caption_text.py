"""Answers become one caption."""

import numpy as np
import pytest

from fastreid_ext.generation.captions.caption_text import (
    attribute_name,
    clean_answer,
    join_answers,
    medoid,
    one_caption,
    shortened,
    vote,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" A red  shirt\nand jeans. ", "A red shirt"),
        ("a red shirt, a red shirt, A red shirt, blue jeans.", "a red shirt, blue jeans"),
        ("The person is wearing a red shirt", "wearing a red shirt"),
        ("he is walking", "walking"),
        ("They are carrying nothing.", ""),
        ("the person in the image is holding a bag", "holding a bag"),
        ("a man is wearing a hat", "a man is wearing a hat"),
        ("he has a heavy coat; sneakers", "has a heavy coat, sneakers"),
        ("heavy coat", "heavy coat"),
        ("nothing", ""),
        ("Unknown.", ""),
        ("I don't know", ""),
        ("no", ""),
        ("no hat, nothing", "no hat"),
        ("arafed man in a black jacket", "man in a black jacket"),
        ("t-shirt. dark blue shorts.", "t-shirt, dark blue shorts"),
        ('"a bag"', "a bag"),
        ("a t - shirt , a man ' s bag", "a t-shirt, a man's bag"),
        ("...", ""),
        ("", ""),
        ("rouge café, 红色外套", "rouge café, 红色外套"),
    ],
)
def test_clean_answer(text, expected):
    assert clean_answer(text) == expected
    assert clean_answer(clean_answer(text)) == expected


def test_attribute_name_strips_the_question():
    question = "Question: what is the person carrying? Answer:"
    assert attribute_name(question) == "what is the person carrying"
    assert attribute_name("bag?") == "bag"
    assert attribute_name("") == "caption"


def test_join_answers_drops_repeated_phrases():
    assert join_answers(["red shirt, a bag", "", "A bag", "walking"]) == "red shirt, a bag, walking"
    assert join_answers(["", ""]) == ""


def test_vote_by_hand():
    assert vote(["a bag", "A bag", "a backpack"]) == "a bag"
    assert vote(["a backpack", "a bag"]) == "a backpack"  # the earliest of equals
    assert vote(["", "a bag"]) == "a bag"  # of equals the one that says something
    assert vote(["", "", "a bag"]) == ""  # most saw nothing
    assert vote([]) == ""


def test_medoid_by_hand_and_against_loops():
    angles = np.radians([0, 30, 50, 170])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert medoid(features) == 2  # nearest to both sides
    rng = np.random.default_rng(0)
    for _ in range(20):
        features = rng.normal(size=(6, 4)).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        means = [sum(float(a @ b) for b in features if b is not a) / 5 for a in features]
        assert medoid(features) == int(np.argmax(means))
    assert medoid(np.ones((1, 3), np.float32)) == 0
    assert medoid(np.repeat([[0.6, 0.8]], 4, axis=0).astype(np.float32)) == 0


def letters(texts):
    """Features of texts whose cosine is that of their letter counts."""
    rows = np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


QUESTIONS = ["Question: clothes? Answer:", "Question: carried? Answer:"]
ANSWERS = [
    ["a red shirt and jeans", "nothing"],
    ["the person is wearing a red shirt.", "a bag"],
    ["zzz qqq xxx", "a bag"],
    ["", "unknown"],
]


def test_medoid_caption_takes_all_from_one_image():
    caption, attributes = one_caption(ANSWERS, QUESTIONS, "medoid", letters)
    assert caption == "wearing a red shirt, a bag"
    assert attributes == {"clothes": "wearing a red shirt", "carried": "a bag"}


def test_vote_caption_decides_each_question_alone_and_asks_no_model():
    answers = [*ANSWERS[:3], ["a red shirt and jeans", "unknown"]]
    caption, attributes = one_caption(answers, QUESTIONS, "vote", None)
    assert caption == "a red shirt and jeans, a bag"
    assert attributes == {"clothes": "a red shirt and jeans", "carried": "a bag"}


@pytest.mark.parametrize("rule", ["medoid", "vote"])
def test_caption_without_answers_is_empty(rule):
    assert one_caption([["", "nothing"]] * 2, QUESTIONS, rule, letters) == (
        "",
        {"clothes": "", "carried": ""},
    )


def test_shortening_drops_phrases_then_words():
    caption = "a red shirt, blue jeans, a big bag"
    assert shortened(caption, lambda text: len(text) <= 100) == caption
    assert shortened(caption, lambda text: len(text) <= 25) == "a red shirt, blue jeans"
    assert shortened(caption, lambda text: len(text) <= 7) == "a red"
    assert shortened(caption, lambda text: False) == ""
