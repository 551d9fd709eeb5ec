"""The texts a model learns a person by, and draws it by.

The paper's identity token (IIR) stands for what words do not say. The reference prompt is the same
without it, for the reference set (ARS) that keeps the model's idea of such a person.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from fastreid.config import CfgNode
from transformers import CLIPTokenizer

from fastreid_ext.generation.words.caption_text import Features
from fastreid_ext.generation.words.captions import CaptionRow

_HASH_DIGITS = 12


class Prompts(NamedTuple):
    """Of one identity: with and without its token."""

    identity: str
    reference: str


def prompts_of(row: CaptionRow, cfg: CfgNode) -> Prompts:
    """Return the prompts of an identity by GENERATION.PROMPT.

    Raises:
        ValueError: the template needs a caption and the row has none.
    """
    template = cfg.GENERATION.PROMPT.TEMPLATE
    if "{caption}" in template and not re.search(r"\w", row.caption):
        raise ValueError(
            f"the caption of {row.name} is empty; write one into captions.jsonl, such as 'a man in "
            "a red coat and blue jeans', or take {caption} out of GENERATION.PROMPT.TEMPLATE"
        )
    return Prompts(
        identity=fill_in(template, token_of(row.name, cfg), row.caption),
        reference=fill_in(template, "", row.caption),
    )


def token_of(name: str, cfg: CfgNode) -> str:
    """Return the identity token: PROMPT.TOKEN, or with TRAIN_TOKEN a new one, ``<name>``."""
    return f"<{name}>" if cfg.GENERATION.PROMPT.TRAIN_TOKEN else cfg.GENERATION.PROMPT.TOKEN


def fill_in(template: str, token: str, caption: str) -> str:
    """Put token and caption in place; what an empty one leaves (spaces, commas) goes too."""
    text = " ".join(template.format(token=token, caption=caption.strip(" ,.")).split())
    return re.sub(r"\s+(?=[,.])|^[\s,]+|[\s,]+$", "", text)


def check_length(tokenizer: CLIPTokenizer, prompt: str) -> None:
    """Raise ValueError if the text encoder would not see the end of the prompt."""
    tokens = tokenizer(prompt).input_ids
    most = tokenizer.model_max_length
    if len(tokens) > most:
        # The last place belongs to the end token.
        seen = tokenizer.decode(tokens[: most - 1], skip_special_tokens=True).strip()
        raise ValueError(
            f"expected a prompt of at most {most} tokens, got {len(tokens)}: it would be cut after "
            f"'... {' '.join(seen.split()[-6:])}'; shorten the caption in captions.jsonl or "
            f"GENERATION.PROMPT.TEMPLATE. Prompt: {prompt}"
        )


def expect_room(tokenizer: CLIPTokenizer, cfg: CfgNode) -> None:
    """Check the prompts that are known before any caption: the text encoder must see all of them.

    Args:
        tokenizer: tokenizer of the text encoder.
        cfg: ``GENERATION.PROMPT`` and ``GENERATION.SAMPLING.NEGATIVE_PROMPT`` are read.

    Raises:
        ValueError: the negative prompt is too long, or the template leaves no room for a caption.
    """
    most = tokenizer.model_max_length
    count = len(tokenizer(cfg.GENERATION.SAMPLING.NEGATIVE_PROMPT).input_ids)
    if count > most:
        raise ValueError(
            f"expected GENERATION.SAMPLING.NEGATIVE_PROMPT of at most {most} tokens, got {count}; "
            "shorten it"
        )
    template = cfg.GENERATION.PROMPT.TEMPLATE
    if not fits(tokenizer, cfg, "a"):
        shortest = fill_in(template, cfg.GENERATION.PROMPT.TOKEN, "a")
        raise ValueError(
            f"expected GENERATION.PROMPT.TEMPLATE to leave room for a caption within {most} "
            f"tokens, got {len(tokenizer(shortest).input_ids)} with a caption of one letter; "
            f"shorten it: {template}"
        )


def check_token(tokenizer: CLIPTokenizer, token: str) -> None:
    """Raise ValueError if PROMPT.TOKEN is several tokens to the tokenizer; "" is none and passes.

    Each part of a word that is split already means something.
    """
    parts = tokenizer.tokenize(token)
    if token and (len(parts) != 1 or parts == [tokenizer.unk_token]):
        raise ValueError(
            f"expected GENERATION.PROMPT.TOKEN to be one token of the vocabulary, got '{token}', "
            f"which is {' + '.join(parts)}; take a short rare word such as sks, or set "
            "PROMPT.TRAIN_TOKEN True to learn a new token from a known one"
        )


def fits(tokenizer: CLIPTokenizer, cfg: CfgNode, caption: str) -> bool:
    """Whether the prompt of a caption is not too long; a trained token counts as one."""
    prompt = fill_in(cfg.GENERATION.PROMPT.TEMPLATE, cfg.GENERATION.PROMPT.TOKEN, caption)
    return len(tokenizer(prompt).input_ids) <= tokenizer.model_max_length


def cluster_prompts(
    references: Mapping[str, str], features: Features, min_similarity: float
) -> dict[str, str]:
    """Decide which identities share a reference set; returns identity -> cluster.

    In the order of their names each identity joins the most similar leader, or becomes one itself
    if none is similar enough. The result depends on names and prompts alone.

    Args:
        references: identity -> reference prompt.
        features: of texts; not called if only equal prompts share.
        min_similarity: least cosine similarity to the leader in [-1, 1]; 1 = only equal prompts.

    Returns:
        A cluster is named by :func:`cluster_id` of its leader's prompt; see :func:`leaders_of`.
    """
    names = sorted(references)
    if min_similarity >= 1:
        return {name: cluster_id(references[name]) for name in names}
    prompts = list(dict.fromkeys(references[name] for name in names))
    encoded = features(prompts)
    leading, leaders = np.empty_like(encoded), []  # leading[:n] are the features of n leaders
    leader_of: dict[str, str] = {}
    for feature, prompt in zip(encoded, prompts, strict=True):
        similarity = leading[: len(leaders)] @ feature
        if leaders and similarity.max() >= min_similarity:
            leader_of[prompt] = leaders[int(similarity.argmax())]
        else:
            leading[len(leaders)] = feature
            leaders.append(prompt)
            leader_of[prompt] = prompt
    return {name: cluster_id(leader_of[references[name]]) for name in names}


def cluster_id(prompt: str) -> str:
    """Return the folder name of a reference set: 12 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:_HASH_DIGITS]


def leaders_of(references: Mapping[str, str], clusters: Mapping[str, str]) -> dict[str, str]:
    """Return the prompt from which each cluster's reference set is drawn: its leader's."""
    prompts = {cluster_id(prompt): prompt for prompt in references.values()}
    return {cluster: prompts[cluster] for cluster in sorted(set(clusters.values()))}
