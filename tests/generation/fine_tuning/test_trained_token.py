"""Trained identity tokens in the text encoder, in files, and in training."""

import dataclasses

import pytest
import torch
from diffusers import StableDiffusionPipeline

from fastreid_ext.generation.fine_tuning.dreambooth import fine_tune
from fastreid_ext.generation.fine_tuning.settings import FineTuneTask, FineTuningSettings
from fastreid_ext.generation.fine_tuning.trained_token import (
    NewTokens,
    embedding_of,
    encode_with_tokens,
    read_embedding,
    token_name,
    write_embedding,
)

WORD = "man"  # of the tiny vocabulary
NAME = "Market1501_0002"
PROMPT = f"a photo of {token_name(NAME)} person, walking"


def test_new_token_starts_as_its_word(base):
    vector = embedding_of(base, WORD)
    encoded = encode_with_tokens(base, [PROMPT], {token_name(NAME): vector})
    expected = base.encode_prompts([f"a photo of {WORD} person, walking"])
    torch.testing.assert_close(encoded, expected)
    assert torch.equal(encode_with_tokens(base, ["a man"], {}), base.encode_prompts(["a man"]))


def test_each_token_has_its_own_vector_and_gradient(base):
    tokens = NewTokens(base, ["<a>", "<b>"])
    vectors = torch.randn(2, len(embedding_of(base, WORD)), requires_grad=True)
    before = len(base.tokenizer)
    first, second = tokens.encode(tokens.ids(["a photo of <a>", "a photo of <b>"]), vectors)
    assert not torch.equal(first, second)
    first.sum().backward()
    assert vectors.grad[0].any()
    assert not vectors.grad[1].any()
    assert len(base.tokenizer) == before
    assert not base.text_encoder.get_input_embeddings()._forward_hooks


def test_diffusers_opens_the_file_and_encodes_the_same(base, tiny_pipeline_folder, tmp_path):
    vector = torch.randn(len(embedding_of(base, WORD)))
    write_embedding(tmp_path, token_name(NAME), vector)
    assert list(read_embedding(tmp_path)) == [token_name(NAME)]
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder, safety_checker=None)
    pipeline.load_textual_inversion(tmp_path)
    expected, _ = pipeline.encode_prompt(PROMPT, "cpu", 1, False)
    encoded = encode_with_tokens(base, [PROMPT], read_embedding(tmp_path))
    torch.testing.assert_close(encoded, expected)
    assert read_embedding(tmp_path.parent) == {}


def task_of(k):
    generator = torch.Generator().manual_seed(k)
    pixels = torch.randint(0, 256, (2, 3, 32, 16), dtype=torch.uint8, generator=generator)
    return FineTuneTask(
        name=f"Market1501_{k:04d}",
        images=pixels,
        prompt=f"a photo of {token_name(f'Market1501_{k:04d}')} person",
        seed=k,
    )


def test_token_of_each_identity_is_trained_as_if_alone(base):
    settings = FineTuningSettings(rank=2, steps=3, base_lr=1e-2, token=WORD)
    together = fine_tune(base, [task_of(0), task_of(1)], settings)
    (alone,) = fine_tune(base, [task_of(1)], settings)
    start = embedding_of(base, WORD)
    torch.testing.assert_close(together[1].embedding, alone.embedding, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(together[1].losses, alone.losses, rtol=1e-4, atol=1e-6)
    assert (together[0].embedding - start).abs().max() > 1e-3
    assert not torch.equal(together[0].embedding, together[1].embedding)


def test_new_tokens_refuse_several_tokens_duplicates_and_long_prompts(base):
    with pytest.raises(
        ValueError, match=r"one token of the vocabulary, .* got 'a man', which is 2"
    ):
        embedding_of(base, "a man")
    with pytest.raises(ValueError, match=r"expected new tokens, got \['<a>', '<a>'\]"):
        NewTokens(base, ["<a>", "<a>"])
    tokens = NewTokens(base, ["<a>"])
    with pytest.raises(ValueError, match=r"at most 77 tokens, got \d+ in '<a> a man"):
        tokens.ids(["<a> " + "a man " * 60])


def test_trained_token_is_not_decayed(base):
    """One step with and without decay leaves the same vector, and other adapters."""
    settings = FineTuningSettings(
        rank=2, alpha=2, steps=1, base_lr=1e-2, token=WORD, weight_decay=0.0
    )
    pixels = torch.randint(
        0, 256, (2, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    task = FineTuneTask(
        name=NAME,
        images=pixels,
        prompt=PROMPT,
        reference_prompt="a photo of person, walking",
        reference_latents=None,
        seed=3,
    )
    [plain] = fine_tune(base, [task], settings)
    [decayed] = fine_tune(base, [task], dataclasses.replace(settings, weight_decay=20.0))
    assert torch.equal(plain.embedding, decayed.embedding)
    assert not torch.equal(plain.embedding, embedding_of(base, WORD))
    assert any(not torch.equal(plain.adapter[k], decayed.adapter[k]) for k in plain.adapter)
