"""Make one caption from a captioner's answers about several images of an identity.

Letters: N captions, D feature dimension.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# Function of N texts that returns (N, D) features of norm 1.
Features = Callable[[Sequence[str]], NDArray[np.float32]]

_NOTHING = {
    "nothing", "nothing else", "none", "no", "no one", "nobody", "n/a", "na", "unknown",
    "unanswerable", "not sure", "i am not sure", "i'm not sure", "i don't know", "i do not know",
}  # fmt: skip
_LABELS = re.compile(r"^\s*question\s*:\s*|\s*answer\s*:\s*$", re.IGNORECASE)
# Openings without information after "a photo of ... person, "; "a man is wearing" has some.
_OPENING = re.compile(
    r"^(?:(?:the|this|a) person|he|she|they)(?: in (?:the|this) (?:image|picture|photo))?"
    r"(?: is| are|'s|'re)?\s+(?:(?:wearing|carrying|holding)\s+(?=nothing\b))?",
    re.IGNORECASE,
)
# Words that BLIP learned from noisy training texts: "arafed", "araffe", "araffes".
_ARTEFACT = re.compile(r"\baraff?e[ds]?\b\s*", re.IGNORECASE)


def attribute_name(question: str) -> str:
    """Strip "Question:", "Answer:" and "?" from a question; "caption" for the empty one."""
    return _LABELS.sub("", _LABELS.sub("", question)).strip(" ?") or "caption"


def clean_answer(text: str) -> str:
    """Clean an answer for a prompt: one line, no repeats, no full stop.

    "nothing", "unknown" and the like become "".

    Example:
        >>> clean_answer("a red coat, a red coat.")
        'a red coat'
    """
    text = _ARTEFACT.sub("", " ".join(text.split("\n")[0].split()))
    # BLIP's tokenizer writes "t - shirt" and "man ' s".
    text = re.sub(r"(?<=\w) ?([-']) (?=\w)", r"\1", text)
    # A model that loops, or reached the limit of tokens, repeats itself after a comma.
    phrases = [phrase.strip(" .;:!?\"'") for phrase in re.split(r"[,;]|\.\s", text)]
    if phrases:
        phrases[0] = _OPENING.sub("", phrases[0])
    kept = {phrase.lower(): phrase for phrase in reversed(phrases)}
    return ", ".join(
        kept.pop(phrase.lower())
        for phrase in phrases
        if phrase.lower() in kept and re.search(r"\w", phrase) and not _says_nothing(phrase)
    )


def join_answers(answers: Sequence[str]) -> str:
    """Join cleaned answers to one caption without repeated phrases."""
    phrases = [phrase for answer in answers for phrase in answer.split(", ") if phrase]
    return ", ".join(
        {phrase.lower(): phrase for phrase in reversed(phrases)}[key]
        for key in dict.fromkeys(phrase.lower() for phrase in phrases)
    )


def medoid(features: NDArray[np.float32]) -> int:
    """Find the row with the largest mean cosine to the others, the first of equals.

    Args:
        features: (N, D) features of norm 1, N >= 1.

    Example:
        >>> medoid(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], np.float32))
        1
    """
    similarity = features.astype(np.float64) @ features.T.astype(np.float64)  # (N, N)
    np.fill_diagonal(similarity, 0.0)
    # Rounded, so that copies of one caption are equals and the choice is the same everywhere.
    return int(similarity.sum(axis=1).round(6).argmax())


def vote(answers: Sequence[str]) -> str:
    """Find the most frequent answer; of equals a non-empty one, then the earliest."""
    counts = Counter(answer.lower() for answer in answers)
    return max(answers, key=lambda answer: (counts[answer.lower()], bool(answer)), default="")


def one_caption(
    answers: Sequence[Sequence[str]], questions: Sequence[str], rule: str, features: Features
) -> tuple[str, Mapping[str, str]]:
    """Make the caption of an identity, and the answer to each question.

    Args:
        answers: answer to each question, for each image.
        questions: questions in the order of the answers.
        rule: "medoid" for the image whose answers are nearest to those of the others; "vote" for
            the most frequent answer to each question.
        features: function that encodes texts, used by "medoid" alone.

    Returns:
        The caption, "" if no image has an answer, and answers by :func:`attribute_name`.
    """
    cleaned = [[clean_answer(text) for text in own] for own in answers]
    if rule == "vote":
        chosen = [vote(column) for column in zip(*cleaned, strict=True)]
    else:
        spoken = [own for own in cleaned if any(own)]
        texts = [join_answers(own) for own in spoken]
        chosen = spoken[medoid(features(texts))] if spoken else [""] * len(questions)
    names = map(attribute_name, questions)
    return join_answers(chosen), dict(zip(names, chosen, strict=True))


def shortened(caption: str, fits: Callable[[str], bool]) -> str:
    """Shorten a caption by its last phrases, or the words of its only phrase, until it fits.

    Args:
        caption: caption whose phrases are separated by commas.
        fits: function that checks a shorter caption.

    Returns:
        The longest caption that fits; "" if none does.
    """
    for separator in (", ", " "):
        parts = caption.split(separator)
        while len(parts) > 1 and not fits(separator.join(parts)):
            parts.pop()
        caption = separator.join(parts)
    return caption if fits(caption) else ""


def _says_nothing(phrase: str) -> bool:
    return phrase.lower() in _NOTHING
