"""Texts that the miniature models are trained on, made of the captions of rendered persons.

A caption reads ``a woman with long black hair wearing a red coat, grey jeans and brown boots, with
a white handbag, walking, side view``.
"""

import re
import string

import numpy as np

# Of prompts: share with the words before the caption that GENERATION.PROMPT.TEMPLATE has, and of
# those the share with a word that means nothing in the place of the identity token.
TEMPLATE_SHARE = 0.5
NONSENSE_SHARE = 0.2
# Chance of each clause but the first to be left out: captioners do not say everything.
OMITTED_SHARE = 0.1

QUESTIONS = (  # of GENERATION.CAPTIONS.QUESTIONS
    "Question: what clothes is the person wearing, and in what colours? Answer:",
    "Question: what is the person carrying? Answer:",
    "Question: what is the person doing? Answer:",
)
_CAPTION = re.compile(
    r"(?P<who>.*?) wearing (?P<clothes>.*?)(?:, with (?P<bag>an? .*?))?"
    r", (?P<action>[^,]*), (?P<view>[a-z]+ view)"
)


def sample_prompt(caption: str, rng: np.random.Generator) -> str:
    """Sample one of the ways to prompt for the person of ``caption``.

    Some are the caption alone, some have the prompt template's words before it; of these a few
    have a nonsense word in the identity token's place, so that a word without meaning does no harm.
    """
    first, *others = caption.split(", ")
    kept = [clause for clause in others if rng.random() >= OMITTED_SHARE]
    text = ", ".join([first, *kept])
    if rng.random() >= TEMPLATE_SHARE:
        return text
    token = f"{_nonsense(rng)} " if rng.random() < NONSENSE_SHARE else ""
    return f"a photo of {token}person, {text}"


def sample_question(caption: str, rng: np.random.Generator) -> tuple[str, str]:
    """Sample a question about the person of ``caption`` and its answer.

    Returns:
        Half of the time ``""`` and the caption itself, else one of :data:`QUESTIONS` and what the
        caption says to it.

    Raises:
        ValueError: the caption is not of the renderer's form.
    """
    parts = _CAPTION.fullmatch(caption)
    if parts is None:
        raise ValueError(
            "expected a caption such as 'a man with short hair wearing a red coat and black shoes, "
            f"walking, side view', got {caption!r}; train on sets of tools/render_persons.py"
        )
    answers = (parts["clothes"], parts["bag"] or "nothing", parts["action"])
    number = int(rng.integers(2 * len(QUESTIONS)))
    return ("", caption) if number >= len(QUESTIONS) else (QUESTIONS[number], answers[number])


def _nonsense(rng: np.random.Generator) -> str:
    letters = rng.choice(list(string.ascii_lowercase), size=3)
    return "".join(letters)
