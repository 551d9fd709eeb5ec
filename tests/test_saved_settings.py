"""Work that was begun with other settings is not continued."""

import pytest

from fastreid_ext.saved_settings import expect_same

WORDS = {"found": "a/ holds another run", "advice": "remove it"}


def test_expect_same_accepts_equal_settings():
    expect_same({"A": 1, "B": [2]}, {"B": [2], "A": 1}, **WORDS)


def test_expect_same_lists_every_difference():
    message = r"^a/ holds another run \(A was 1, is None; B was 2, is 3; C was None, is 4\); remove"
    with pytest.raises(ValueError, match=message):
        expect_same({"A": 1, "B": 2}, {"B": 3, "C": 4}, **WORDS)


def test_expect_same_shortens_long_values():
    with pytest.raises(ValueError, match=r"\(A was x{60}\.\.\., is 1\)"):
        expect_same({"A": "x" * 99}, {"A": 1}, **WORDS)
