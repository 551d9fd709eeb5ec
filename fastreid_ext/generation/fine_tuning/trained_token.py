"""Trained identity tokens: one new word per identity, whose embedding is a parameter.

The token ``<name>`` is in no vocabulary file. A copy of the tokenizer that knows it finds its place
in a prompt, and a hook behind the text encoder's embedding table inserts its vector there, so table
and tokenizer of the base model stay unchanged. ``pipe.load_textual_inversion`` of diffusers does
the same for users of the written file.

Letters: B prompts, L tokens, C width of the text encoder.

[0] Gal et al., "An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual
    Inversion", ICLR 2023, section 4, https://arxiv.org/abs/2208.01618
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastreid_ext.diffusion.adapter_files import EMBEDDING
from fastreid_ext.diffusion.stable_diffusion import StableDiffusion


def token_name(identity: str) -> str:
    """Return the token of an identity as :mod:`.captions.prompts` writes it."""
    return f"<{identity}>"


def embedding_of(base: StableDiffusion, word: str) -> Tensor:
    """Look up the (C,) float32 embedding of a word, from which training starts.

    Args:
        base: Stable Diffusion with the tokenizer and the embedding table.
        word: text of exactly one token.

    Raises:
        ValueError: the word has several tokens, or none.
    """
    ids = base.tokenizer(word, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise ValueError(
            f"expected GENERATION.PROMPT.TOKEN to be one token of the vocabulary, from which the "
            f"new ones start, got '{word}', which is {len(ids)}; take a short common word"
        )
    table = base.text_encoder.get_input_embeddings().weight
    return table.detach()[ids[0]].float().clone()


class NewTokens:
    """Encoder of prompts with tokens that are not in the tokenizer's vocabulary.

    Args:
        base: Stable Diffusion, which stays unchanged.
        names: new tokens, with their brackets.
    """

    def __init__(self, base: StableDiffusion, names: Sequence[str]) -> None:
        self._base = base
        self._tokenizer = copy.deepcopy(base.tokenizer)
        self._first = len(self._tokenizer)
        if self._tokenizer.add_tokens(list(names)) != len(names):
            raise ValueError(
                f"expected new tokens, got {list(names)}, some of which the vocabulary or the list "
                "has already; give each identity a name of its own"
            )

    def encode(self, ids: Tensor, vectors: Tensor) -> Tensor:
        """Encode prompts as (B, L, C), with a gradient for the vectors.

        Args:
            ids: (B, L) token ids of :meth:`ids`.
            vectors: (T, C) float32 embeddings of the new tokens in the order of ``names``.
        """
        is_new = ids >= self._first
        known = ids.masked_fill(is_new, self._base.tokenizer.eos_token_id)

        def insert(table: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            own = vectors[(ids - self._first).clamp_min(0)].to(output.dtype)  # (B, L, C)
            return torch.where(is_new[:, :, None], own, output)

        table = self._base.text_encoder.get_input_embeddings()
        hook = table.register_forward_hook(insert)
        try:
            return self._base.text_encoder(known)[0]
        finally:
            hook.remove()

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """Tokenize B texts to ids (B, L) on the device.

        Raises:
            ValueError: a prompt is longer than the text encoder takes.
        """
        rows = self._tokenizer(list(prompts), padding="max_length").input_ids
        length = self._tokenizer.model_max_length
        for prompt, row in zip(prompts, rows, strict=True):
            if len(row) > length:
                raise ValueError(
                    f"expected prompts of at most {length} tokens, got {len(row)} in '{prompt}'; "
                    "shorten it"
                )
        return torch.tensor(rows, device=self._base.device)


def encode_with_tokens(
    base: StableDiffusion, prompts: Sequence[str], vectors: Mapping[str, Tensor]
) -> Tensor:
    """Encode prompts with trained tokens as (B, L, C) for sampling.

    Args:
        base: Stable Diffusion, which stays unchanged.
        prompts: B texts of the images.
        vectors: token with its brackets -> its (C,) embedding; {} for plain prompts.
    """
    if not vectors:
        return base.encode_prompts(prompts)
    stacked = torch.stack([vector.to(base.device) for vector in vectors.values()])
    with torch.no_grad():
        tokens = NewTokens(base, list(vectors))
        return tokens.encode(tokens.ids(prompts), stacked)


def write_embedding(folder: Path, token: str, vector: Tensor) -> None:
    """Write the (C,) embedding of a token for ``pipe.load_textual_inversion``."""
    save_file({token: vector.detach().cpu().float()[None]}, Path(folder) / EMBEDDING)


def read_embedding(folder: Path) -> dict[str, Tensor]:
    """Read token -> (C,) embedding from an identity's folder; {} if none was trained."""
    path = Path(folder) / EMBEDDING
    if not path.is_file():
        return {}
    return {token: vector.flatten() for token, vector in load_file(path).items()}
