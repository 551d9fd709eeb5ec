"""Captions on disk."""

import json

import pytest

from fastreid_ext.generation.captions.captions_file import (
    Answers,
    CaptionRow,
    add_captions,
    answers_file,
    captions_file,
    empty_captions,
    read_answers,
    read_captions,
    write_answers,
)


def answers_of(name, text="a red coat"):
    return Answers(
        identity=name,
        captioner="blip2@1",
        questions=("clothes?", ""),
        images=("a.jpg", "b.jpg"),
        answers=((text, ""), ("ein Rucksack für Käthe", "walking")),
    )


def row_of(answers):
    caption = answers.answers[0][0]
    return CaptionRow(
        name=answers.identity, caption=caption, attributes={"clothes": caption}, automatic=caption
    )


def test_answers_round_trip(tmp_path):
    write_answers(tmp_path, answers_of("A_0001"))
    assert read_answers(tmp_path, "A_0001") == answers_of("A_0001")
    assert "Käthe" in answers_file(tmp_path, "A_0001").read_text(encoding="utf-8")


def test_missing_and_damaged_answers_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no captions of A_0001 at .*persons.py caption"):
        read_answers(tmp_path, "A_0001")
    write_answers(tmp_path, answers_of("A_0001"))
    path = answers_file(tmp_path, "A_0001")
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match=r"A_0001\.json: not JSON"):
        read_answers(tmp_path, "A_0001")
    with pytest.raises(ValueError, match=r"expected 1 answers for each of 1 images, got \[2\]"):
        Answers(identity="A", captioner="", questions=("",), images=("a",), answers=(("x", "y"),))


def test_rows_are_made_once_and_corrections_win(tmp_path):
    names = ["A_0001", "A_0002", "A_0003"]
    for name in names[:2]:
        write_answers(tmp_path, answers_of(name))
    rows = add_captions(tmp_path, names, row_of)
    assert list(rows) == names[:2]
    assert not any(row.edited for row in rows.values())
    path = captions_file(tmp_path)
    first, second = path.read_text().splitlines()
    # One line is corrected by hand, in an editor that leaves no newline at the end.
    corrected = first.replace('"caption": "a red coat"', '"caption":   "a blue coat"')
    path.write_text(f"{corrected}\n{second}")
    write_answers(tmp_path, answers_of("A_0001", "a green coat"))
    write_answers(tmp_path, answers_of("A_0003", "a white coat"))
    rows = add_captions(tmp_path, names, row_of)
    assert {name: row.caption for name, row in rows.items()} == {
        "A_0001": "a blue coat",
        "A_0002": "a red coat",
        "A_0003": "a white coat",
    }
    assert [row.edited for row in rows.values()] == [True, False, False]
    assert path.read_text().splitlines()[:2] == [corrected, second]
    before = path.read_bytes()
    assert add_captions(tmp_path, names, row_of) == rows == read_captions(tmp_path)
    assert path.read_bytes() == before


def test_rows_may_be_written_by_hand(tmp_path):
    captions_file(tmp_path).write_bytes(
        b'\xef\xbb\xbf{"name": "A_0001", "caption": "a red coat"}\r\n\r\n'
    )
    (row,) = read_captions(tmp_path).values()
    assert row == CaptionRow(name="A_0001", caption="a red coat")
    assert row.edited


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"name": "B", "caption": "x"', r"captions\.jsonl:2: not JSON"),
        (
            '{"name": "B", "captoin": "x"}',
            r":2: unknown name 'captoin' .*; did you mean 'caption",
        ),
        ('{"name": "B"}', r":2: missing keys \['caption'\]"),
        ('{"name": "B", "caption": 7}', r":2: expected caption as text in quotes, got 7"),
        ('{"name": "", "caption": "x"}', r":2: expected the name of an identity"),
        ('{"name": "B", "caption": "x", "attributes": []}', r":2: expected attributes as an obj"),
        ('{"name": "A", "caption": "x"}', r":2: 'A' is already in line 1; keep one"),
    ],
)
def test_captions_mistakes_name_the_line(tmp_path, second, message):
    captions_file(tmp_path).write_text('{"name": "A", "caption": "x"}\n' + second + "\n")
    with pytest.raises(ValueError, match=message):
        read_captions(tmp_path)


def test_captions_in_another_encoding_are_refused(tmp_path):
    captions_file(tmp_path).write_bytes('{"name": "A", "caption": "Käthe"}\n'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"expected UTF-8 in \S+captions\.jsonl, got: .* save it"):
        read_captions(tmp_path)


def test_captions_missing_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no captions at .*persons\.py caption, or write"):
        read_captions(tmp_path)


def test_empty_captions_are_found():
    captions = {"A": "x", "B": "", "C": " , ", "D": "红"}
    rows = {name: CaptionRow(name=name, caption=text) for name, text in captions.items()}
    assert empty_captions(rows) == ["B", "C"]


def test_rows_are_lines_of_json_in_plain_letters(tmp_path):
    write_answers(tmp_path, answers_of("A_0001", "ein Mantel für Käthe"))
    add_captions(tmp_path, ["A_0001"], row_of)
    (line,) = captions_file(tmp_path).read_text(encoding="utf-8").splitlines()
    assert "Käthe" in line
    assert list(json.loads(line)) == ["name", "caption", "attributes", "automatic"]
