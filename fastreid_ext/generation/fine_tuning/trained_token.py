"""A new word per identity, whose embedding is trained: the paper's identity token as a vector.

The token ``<name>`` stands in no vocabulary file. Its place in a prompt is found by a copy of the
tokenizer that knows it, and its vector is put there behind the text encoder's embedding table, so
that table and tokenizer of the base model stay as they are. diffusers does the same for users by
``pipe.load_textual_inversion``.

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
    """Return the token of an identity, as :mod:`.words.prompts` writes it."""
    return f"<{identity}>"


def embedding_of(base: StableDiffusion, word: str) -> Tensor:
    """Return the (C,) float32 embedding of a word that is one token: where training starts.

    Raises:
        ValueError: it is several tokens, or none.
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
    """Encodes prompts with tokens that the tokenizer does not have.

    Args:
        base: its parts are not changed.
        names: the new tokens.
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
        """Return (B, L, C) of the text encoder; the gradient reaches the vectors.

        Args:
            ids: (B, L) of :meth:`ids`.
            vectors: (T, C) float32, of the tokens in the order of ``names``.
        """
        is_new = ids >= self._first
        known = ids.masked_fill(is_new, self._base.tokenizer.eos_token_id)

        def put_in(table: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            own = vectors[(ids - self._first).clamp_min(0)].to(output.dtype)  # (B, L, C)
            return torch.where(is_new[:, :, None], own, output)

        table = self._base.text_encoder.get_input_embeddings()
        hook = table.register_forward_hook(put_in)
        try:
            return self._base.text_encoder(known)[0]
        finally:
            hook.remove()

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """Return (B, L) on the device of B texts.

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
    """Return (B, L, C) of prompts that hold trained tokens, to draw with.

    Args:
        base: the model.
        prompts: B texts.
        vectors: token, with its brackets -> (C,).
    """
    if not vectors:
        return base.encode_prompts(prompts)
    stacked = torch.stack([vector.to(base.device) for vector in vectors.values()])
    with torch.no_grad():
        tokens = NewTokens(base, list(vectors))
        return tokens.encode(tokens.ids(prompts), stacked)


def write_embedding(folder: Path, token: str, vector: Tensor) -> None:
    """Write a file that ``pipe.load_textual_inversion`` opens: token -> (1, C)."""
    save_file({token: vector.detach().cpu().float()[None]}, Path(folder) / EMBEDDING)


def read_embedding(folder: Path) -> dict[str, Tensor]:
    """Return token -> (C,) of an identity's folder; empty if none was trained."""
    path = Path(folder) / EMBEDDING
    if not path.is_file():
        return {}
    return {token: vector.flatten() for token, vector in load_file(path).items()}
