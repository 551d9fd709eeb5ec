"""Stage 2: ask about the images of each identity, then make one caption from the answers."""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from transformers import CLIPTokenizer

from fastreid_ext.generation.captions.caption_text import Features, one_caption, shortened
from fastreid_ext.generation.captions.captioner import Captioner
from fastreid_ext.generation.captions.captions_file import (
    Answers,
    CaptionRow,
    add_captions,
    answers_file,
    empty_captions,
    read_answers,
    write_answers,
)
from fastreid_ext.generation.captions.prompts import fits
from fastreid_ext.generation.identities.identity_list import Identity, load_images
from fastreid_ext.generation.identities.source_identities import source_folder
from fastreid_ext.generation.runs.disk import is_outage

logger = logging.getLogger(__name__)


def captioned(identity: Identity, most: int) -> Identity:
    """Copy an identity with at most ``most`` (0 for all) references, spread over them."""
    count = len(identity.images)
    if not 0 < most < count:
        return identity
    places = np.linspace(0, count - 1, most).round().astype(int)
    images = tuple(identity.images[place] for place in places)
    return dataclasses.replace(identity, images=images)


def caption_identities(
    identities: Sequence[Identity],
    captioner: Captioner,
    *,
    output: Path,
    root_of: Callable[[str], Path],
    questions: Sequence[str],
    max_images: int,
) -> dict[str, str]:
    """Write the captioner's answers about identities, whose images share batches.

    Args:
        identities: identities whose references are asked about.
        captioner: model that answers the questions.
        output: output folder of the job.
        root_of: function of a data set that returns the folder its paths are relative to.
        questions: texts of GENERATION.CAPTIONS.QUESTIONS, in order.
        max_images: largest number of images per identity; 0 for all.

    Returns:
        Name -> reason of identities whose images cannot be read.
    """
    failed: dict[str, str] = {}
    loaded: list[tuple[Identity, list]] = []
    for identity in identities:
        few = captioned(identity, max_images)
        try:
            loaded.append((few, load_images(few, root_of(identity.source_dataset))))
        except OSError as error:
            if is_outage(error):
                raise
            failed[identity.name] = str(error)
    pixels = [image for _, images in loaded for image in images]
    remaining = iter(captioner.answers(pixels, questions))
    for identity, images in loaded:
        own = itertools.islice(remaining, len(images))
        answers = Answers(
            identity=identity.name,
            captioner=captioner.name,
            questions=tuple(questions),
            images=tuple(image.path for image in identity.images),
            answers=tuple(map(tuple, own)),
        )
        write_answers(output, answers)
    return failed


def open_captioning(
    cfg: CfgNode,
    identities: Sequence[Identity],
    output: Path,
    device: str | torch.device | None = None,
) -> Callable[[Sequence[str]], dict[str, str]]:
    """Load the captioner and build the work of the stage for :func:`.runs.stage.run_stage`.

    Args:
        cfg: configuration; GENERATION.CAPTIONS and DATASETS are read.
        identities: all identities of the job.
        output: output folder of the job.
        device: device of the captioner; None for MODEL.DEVICE.
    """
    captions = cfg.GENERATION.CAPTIONS
    roots = {name: source_folder(cfg, name) for name in {i.source_dataset for i in identities}}
    by_name = {identity.name: identity for identity in identities}
    captioner = Captioner.from_config(cfg, device)

    def work(names: Sequence[str]) -> dict[str, str]:
        return caption_identities(
            [by_name[name] for name in names],
            captioner,
            output=output,
            root_of=roots.__getitem__,
            questions=captions.QUESTIONS,
            max_images=captions.MAX_IMAGES,
        )

    return work


def has_answers(output: Path, name: str) -> bool:
    """Check that the answers of an identity exist, and raise if they are damaged."""
    if not answers_file(output, name).is_file():
        return False
    read_answers(output, name)
    return True


def assemble_captions(
    output: Path,
    names: Sequence[str],
    cfg: CfgNode,
    *,
    features: Features,
    tokenizer: CLIPTokenizer,
) -> Mapping[str, CaptionRow]:
    """Add a row to ``captions.jsonl`` for each identity with answers and no row.

    A caption that would make a prompt longer than ``tokenizer`` allows loses its last phrases.

    Args:
        output: output folder of the job.
        names: names of identities in the order of their rows.
        cfg: configuration; GENERATION.CAPTIONS.AGGREGATION and GENERATION.PROMPT are read.
        features: function that encodes N texts to (N, D).
        tokenizer: tokenizer of the text encoder that reads the prompts.

    Raises:
        ValueError: ``captions.jsonl`` or an identity's file is damaged.
    """

    def row_of(answers: Answers) -> CaptionRow:
        caption, attributes = one_caption(
            answers.answers, answers.questions, cfg.GENERATION.CAPTIONS.AGGREGATION, features
        )
        short = shortened(caption, lambda text: fits(tokenizer, cfg, text))
        if short != caption:
            logger.info("%s: caption shortened to '%s' from '%s'", answers.identity, short, caption)
        return CaptionRow(
            name=answers.identity, caption=short, attributes=attributes, automatic=short
        )

    rows = add_captions(output, names, row_of)
    if empty := empty_captions(rows):
        logger.warning(
            "%d of %d captions are empty, e.g. that of %s; write them into %s, or these identities "
            "will fail",
            len(empty),
            len(rows),
            empty[0],
            output / "captions.jsonl",
        )
    if strangers := sorted(rows.keys() - set(names)):
        logger.warning(
            "%d rows of %s are of no identity of this job, e.g. %s",
            len(strangers),
            output / "captions.jsonl",
            strangers[0],
        )
    return rows
