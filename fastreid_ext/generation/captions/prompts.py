"""Prompts of fine-tuning and sampling, and the clusters that share a reference set.

The paper's identity token (IIR) stands for the appearance that a caption does not describe. The
reference prompt is the same text without the token, for the reference set (ARS), by which the model
keeps the meaning of the caption.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import numpy as np
from fastreid.config import CfgNode
from transformers import CLIPTokenizer

from fastreid_ext.generation.captions.caption_text import Features
from fastreid_ext.generation.captions.captions_file import CaptionRow

_HASH_DIGITS = 12
_EXPENSIVE = 0.3  # share of images in reference sets above which advice is given


class Prompts(NamedTuple):
    """Prompts of one identity.

    Attributes:
        identity: prompt of fine-tuning, with the identity token.
        reference: prompt of the reference set, without the token.
        sampling: prompts of the generated images, used in turn; () for ``identity`` alone.
    """

    identity: str
    reference: str
    sampling: tuple[str, ...] = ()

    @property
    def sampled(self) -> tuple[str, ...]:
        """Prompts of the generated images, used in turn by the number of the image."""
        return self.sampling or (self.identity,)


def prompts_of(row: CaptionRow, cfg: CfgNode) -> Prompts:
    """Build the prompts of an identity by GENERATION.PROMPT.

    Raises:
        ValueError: the template needs a caption and the row has none.
    """
    template = cfg.GENERATION.PROMPT.TEMPLATE
    if "{caption}" in template and not re.search(r"\w", row.caption):
        raise ValueError(
            f"the caption of {row.name} is empty; write one into captions.jsonl, such as 'a man in "
            "a red coat and blue jeans', or take {caption} out of GENERATION.PROMPT.TEMPLATE"
        )
    token = token_of(row.name, cfg)
    identity = fill_in(template, token, row.caption)
    return Prompts(
        identity=identity,
        reference=fill_in(template, "", row.caption),
        sampling=_sampling_prompts(cfg, identity, token, row.caption),
    )


def sampling_templates(cfg: CfgNode) -> tuple[str, ...]:
    """Read the templates of SAMPLING.PROMPTS, or of SAMPLING.PROMPTS_FILE with one per line.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is empty, or both keys are set.
    """
    sampling = cfg.GENERATION.SAMPLING
    if not sampling.PROMPTS_FILE:
        return tuple(sampling.PROMPTS)
    if sampling.PROMPTS:
        raise ValueError(
            "expected GENERATION.SAMPLING.PROMPTS or PROMPTS_FILE, got both; empty one of them"
        )
    path = Path(sampling.PROMPTS_FILE).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"no file at {path} (GENERATION.SAMPLING.PROMPTS_FILE); give a text file with one "
            "template a line"
        )
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    if not (found := tuple(line for line in lines if line)):
        raise ValueError(
            f"expected one template a line in {path} (GENERATION.SAMPLING.PROMPTS_FILE), got an "
            'empty file; write such as "{prompt}, seen from behind"'
        )
    return found


def token_of(name: str, cfg: CfgNode) -> str:
    """Return the identity token: PROMPT.TOKEN, or the new token ``<name>`` with TRAIN_TOKEN."""
    return f"<{name}>" if cfg.GENERATION.PROMPT.TRAIN_TOKEN else cfg.GENERATION.PROMPT.TOKEN


def _sampling_prompts(cfg: CfgNode, identity: str, token: str, caption: str) -> tuple[str, ...]:
    """Fill in the templates of sampling, where {prompt} is the prompt of fine-tuning."""
    prompts = []
    for template in sampling_templates(cfg):
        with_prompt = template.replace("{prompt}", identity.replace("{", "{{").replace("}", "}}"))
        prompts.append(fill_in(with_prompt, token, caption))
    return tuple(prompts)


def fill_in(template: str, token: str, caption: str) -> str:
    """Fill in token and caption, and remove spaces and commas left by empty ones.

    Example:
        >>> fill_in("a photo of {token} person, {caption}", "", "a red coat")
        'a photo of person, a red coat'
    """
    text = " ".join(template.format(token=token, caption=caption.strip(" ,.")).split())
    return re.sub(r"\s+(?=[,.])|^[\s,]+|[\s,]+$", "", text)


def check_length(tokenizer: CLIPTokenizer, prompt: str) -> None:
    """Check that a prompt fits into the text encoder.

    Raises:
        ValueError: the prompt has too many tokens; the message shows where it would be cut.
    """
    tokens = tokenizer(prompt).input_ids
    most = tokenizer.model_max_length
    if len(tokens) > most:
        # The last place is for the end token.
        seen = tokenizer.decode(tokens[: most - 1], skip_special_tokens=True).strip()
        raise ValueError(
            f"expected a prompt of at most {most} tokens, got {len(tokens)}: it would be cut after "
            f"'... {' '.join(seen.split()[-6:])}'; shorten the caption in captions.jsonl or "
            f"GENERATION.PROMPT.TEMPLATE. Prompt: {prompt}"
        )


def expect_templates(cfg: CfgNode) -> None:
    """Check the templates of SAMPLING.

    Raises:
        ValueError: a template has an unknown field, or none that describes the identity.
    """
    for template in sampling_templates(cfg):
        where = f"'{template}' of GENERATION.SAMPLING.PROMPTS"
        try:
            fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        except ValueError as error:
            raise ValueError(f"{where}: {error}; write {{prompt}}") from error
        if unknown := sorted(fields - {"prompt", "token", "caption"}):
            raise ValueError(
                f"unknown field '{{{unknown[0]}}}' in {where}; known: {{prompt}}, {{token}}, "
                "{caption}"
            )
        wanted = {"prompt", "token"} if cfg.GENERATION.PROMPT.TOKEN else {"prompt", "caption"}
        if not fields & wanted:
            raise ValueError(
                f"expected {{prompt}} or {{{sorted(wanted - {'prompt'})[0]}}} in {where}, got "
                "neither: its images would show any person"
            )


def expect_room(tokenizer: CLIPTokenizer, cfg: CfgNode) -> None:
    """Check, before any caption is known, that prompts fit into the text encoder.

    Args:
        tokenizer: tokenizer of the text encoder.
        cfg: configuration; ``GENERATION.PROMPT`` and the prompts of ``SAMPLING`` are read.

    Raises:
        FileNotFoundError: the file of prompts is missing.
        ValueError: the negative prompt is too long, or a template leaves no room for a caption.
    """
    most = tokenizer.model_max_length
    count = len(tokenizer(cfg.GENERATION.SAMPLING.NEGATIVE_PROMPT).input_ids)
    if count > most:
        raise ValueError(
            f"expected GENERATION.SAMPLING.NEGATIVE_PROMPT of at most {most} tokens, got {count}; "
            "shorten it"
        )
    templates = (cfg.GENERATION.PROMPT.TEMPLATE, *sampling_templates(cfg))
    for template, shortest in zip(templates, prompts_to_fit(cfg, "a"), strict=True):
        count = len(tokenizer(shortest).input_ids)
        if count > most:
            key = "PROMPT.TEMPLATE" if template is templates[0] else "SAMPLING.PROMPTS"
            raise ValueError(
                f"expected GENERATION.{key} to leave room for a caption within {most} tokens, got "
                f"{count} with a caption of one letter; shorten it: {template}"
            )


def check_token(tokenizer: CLIPTokenizer, token: str) -> None:
    """Check that PROMPT.TOKEN is one token, because parts of a split word have meanings.

    Raises:
        ValueError: the token is split; "" is allowed.
    """
    parts = tokenizer.tokenize(token)
    if token and (len(parts) != 1 or parts == [tokenizer.unk_token]):
        raise ValueError(
            f"expected GENERATION.PROMPT.TOKEN to be one token of the vocabulary, got '{token}', "
            f"which is {' + '.join(parts)}; take a short rare word such as sks, or set "
            "PROMPT.TRAIN_TOKEN True to train a new token from a known one"
        )


def fits(tokenizer: CLIPTokenizer, cfg: CfgNode, caption: str) -> bool:
    """Check that all prompts of a caption fit; a trained token counts as one token."""
    return all(
        len(tokenizer(prompt).input_ids) <= tokenizer.model_max_length
        for prompt in prompts_to_fit(cfg, caption)
    )


def prompts_to_fit(cfg: CfgNode, caption: str) -> tuple[str, ...]:
    """Build the prompts of a caption that must fit into the text encoder.

    A trained token is as long as PROMPT.TOKEN, which replaces it here.
    """
    token = cfg.GENERATION.PROMPT.TOKEN
    identity = fill_in(cfg.GENERATION.PROMPT.TEMPLATE, token, caption)
    return (identity, *_sampling_prompts(cfg, identity, token, caption))


def cluster_prompts(
    references: Mapping[str, str], features: Features, min_similarity: float
) -> dict[str, str]:
    """Cluster the identities that share a reference set.

    In the order of their names, each identity joins the most similar leader, or becomes a leader if
    none is similar enough. The result depends on names and prompts alone.

    Args:
        references: name of an identity -> its reference prompt.
        features: function that encodes texts; not called if only equal prompts share a set.
        min_similarity: smallest cosine similarity to the leader in [-1, 1]; 1 for equal prompts
            only.

    Returns:
        Identity -> cluster, named by :func:`cluster_id` of its leader's prompt.
    """
    names = sorted(references)
    if min_similarity >= 1:
        return {name: cluster_id(references[name]) for name in names}
    prompts = list(dict.fromkeys(references[name] for name in names))
    encoded = features(prompts)
    leading = np.empty_like(encoded)  # leading[:n] are the features of n leaders
    leaders: list[str] = []
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
    """Build the folder name of a reference set: 12 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:_HASH_DIGITS]


def reference_cost(clusters: int, identities: int, cfg: CfgNode) -> str:
    """Summarise the number of reference sets and their share of the whole work.

    Args:
        clusters: number of reference sets to generate.
        identities: number of identities that use the sets.
        cfg: configuration; ``GENERATION.REFERENCE_SET`` and ``SAMPLING`` are read.
    """
    reference = cfg.GENERATION.REFERENCE_SET
    sampling = cfg.GENERATION.SAMPLING
    images = clusters * reference.IMAGES
    of_identities = identities * sampling.IMAGES_PER_IDENTITY
    share = images / max(1, images + of_identities)
    text = (
        f"{clusters} reference sets for {identities} identities: {images:,} images of "
        f"{sampling.STEPS} steps before the first identity, {share:.0%} of all that are generated "
        f"({of_identities:,} of the identities themselves)"
    )
    if clusters > identities / 2 and share > _EXPENSIVE:
        text += (
            f"; lower GENERATION.REFERENCE_SET.MIN_SIMILARITY ({reference.MIN_SIMILARITY:g}) lets "
            "more identities share a set, IMAGES makes each smaller"
        )
    return text


def leaders_of(references: Mapping[str, str], clusters: Mapping[str, str]) -> dict[str, str]:
    """Map each cluster to the prompt of its reference set, which is its leader's."""
    prompts = {cluster_id(prompt): prompt for prompt in references.values()}
    return {cluster: prompts[cluster] for cluster in sorted(set(clusters.values()))}
