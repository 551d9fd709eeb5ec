"""Tokenizers of the families of SD, BLIP and BLIP-2, with a vocabulary built from captions.

A word of the captions is one token; other text is split into letters or bytes, so no token is
unknown.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from tokenizers import pre_tokenizers
from transformers import BertTokenizer, CLIPTokenizer, GPT2Tokenizer

# Words of prompts and questions that captions lack. `sks` is the rare word of GENERATION.PROMPT.
PROMPT_WORDS = (
    "a photo of sks person",
    "question what clothes is the person wearing and in what colours answer",
    "what is the person carrying doing holding nothing",
    "a photo of an empty street a blurred picture of noise",
)
END_OF_WORD = "</w>"


def words_of(texts: Iterable[str]) -> list[str]:
    """List the lower-cased words of texts, the most frequent first, ties by the alphabet."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(re.findall(r"[a-z]+", text.lower()))
    return sorted(counts, key=lambda word: (-counts[word], word))


def clip_tokenizer(captions: Iterable[str], tokens: int = 77) -> CLIPTokenizer:
    """Build CLIP's byte-level BPE tokenizer of prompts up to ``tokens`` tokens.

    Ids are ordered as in CLIP: 256 bytes, 256 bytes that end a word, merges, start, end. Padding
    is the end token, as in Stable Diffusion 1.x.
    """
    merges = _merges((*captions, *PROMPT_WORDS), END_OF_WORD)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *(letter + END_OF_WORD for letter in alphabet)]
    entries += [left + right for left, right in merges]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab=_numbered(entries), merges=merges, model_max_length=tokens)


def opt_tokenizer(captions: Iterable[str]) -> GPT2Tokenizer:
    """Build a tokenizer like OPT's in BLIP-2: byte-level BPE, ``</s>`` in front, ``<pad>``."""
    merges = _merges([f" {text}" for text in (*captions, *PROMPT_WORDS)], "")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = ["<s>", "<pad>", "</s>", "<unk>", *alphabet]
    entries += [left + right for left, right in merges]
    tokenizer = GPT2Tokenizer(
        vocab=_numbered(entries),
        merges=merges,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="</s>",
        add_bos_token=True,
    )
    tokenizer.padding_side = "left"
    return tokenizer


def bert_tokenizer(captions: Iterable[str]) -> BertTokenizer:
    """Build a tokenizer like BLIP's: BERT's WordPiece with ``[DEC]``, which begins a caption."""
    letters = [*string.ascii_lowercase, *string.digits]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation]
    entries += letters + [f"##{letter}" for letter in letters]
    entries += [word for word in words_of((*captions, *PROMPT_WORDS)) if len(word) > 1]
    return BertTokenizer(vocab=_numbered(entries), bos_token="[DEC]")


def _numbered(entries: Iterable[str]) -> dict[str, int]:
    return {entry: number for number, entry in enumerate(dict.fromkeys(entries))}


def _merges(texts: Iterable[str], end_of_word: str) -> list[tuple[str, str]]:
    """Learn byte pair merges until every word is whole, the most frequent pair first.

    Ties are broken by the alphabet (the trainer of ``tokenizers`` breaks them by chance).
    """
    pattern = r"[a-z]+" if end_of_word else r" ?[a-z]+"
    counts = Counter(word for text in texts for word in re.findall(pattern, text.lower()))
    pieces = {word: _letters(word, end_of_word) for word in counts}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = {word: _merged(parts, best) for word, parts in pieces.items()}


def _letters(word: str, end_of_word: str) -> list[str]:
    """Split a word into letters, the space as byte-level BPE writes it, the last one marked."""
    letters = list(word.replace(" ", "\u0120"))
    return [*letters[:-1], letters[-1] + end_of_word]


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """Join each occurrence of ``pair``, from the left."""
    joined: list[str] = []
    for part in parts:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined
