import pytest
from transformers import CLIPTokenizer

from fastreid_ext.diffusion.tiny.vocabularies import (
    _merges,
    bert_tokenizer,
    clip_tokenizer,
    opt_tokenizer,
    words_of,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_captions):
    return clip_tokenizer(tiny_captions)


def test_every_word_of_the_captions_is_one_token(tokenizer, tiny_captions):
    assert all(len(tokenizer.tokenize(word)) == 1 for word in words_of(tiny_captions))


def test_the_rare_word_is_one_token(tokenizer):
    assert tokenizer.tokenize("a photo of sks person") == [
        f"{word}</w>" for word in ("a", "photo", "of", "sks", "person")
    ]


@pytest.mark.parametrize("text", ["zürich", "日本", "q7!#", "\U0001f600", "SKS Persons"])
def test_any_text_is_encoded_without_loss(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids).replace(" ", "") == text.lower().replace(" ", "")


def test_layout_is_clips(tokenizer):
    ids = tokenizer("sks", padding="max_length").input_ids
    assert len(ids) == 77
    assert ids[0] == tokenizer.bos_token_id == len(tokenizer) - 2
    assert ids[2:] == [len(tokenizer) - 1] * 75  # end and padding, as in SD 1.x


def test_saved_tokenizer_encodes_alike(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    text = "a man in a khaki t-shirt, whistling"
    assert loaded(text).input_ids == tokenizer(text).input_ids


def test_vocabulary_does_not_depend_on_the_order(tokenizer, tiny_captions):
    assert clip_tokenizer(tiny_captions[::-1]).get_vocab() == tokenizer.get_vocab()


def test_opt_begins_with_its_end_token(tiny_captions):
    tokenizer = opt_tokenizer(tiny_captions)
    ids = tokenizer("a man").input_ids
    assert ids[0] == tokenizer.bos_token_id == 2
    assert tokenizer.pad_token_id == 1


def test_bert_has_the_token_that_begins_a_caption(tiny_captions):
    tokenizer = bert_tokenizer(tiny_captions)
    assert tokenizer.bos_token_id == len(tokenizer) - 1
    assert tokenizer.tokenize("a khaki t-shirt") == ["a", "khaki", "t", "-", "shirt"]
    assert tokenizer.unk_token_id not in tokenizer("xylophone 7?").input_ids


def test_merges_by_hand():
    """`ab` occurs most; then `abc` has one pair left, and `d` none."""
    assert _merges(["ab ab abc d"], "</w>") == [("a", "b</w>"), ("a", "b"), ("ab", "c</w>")]
