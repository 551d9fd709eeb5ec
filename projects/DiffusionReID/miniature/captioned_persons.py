"""Captioned rendered persons, in memory: what the miniature models are trained on.

Letters: N images, H x W pixels.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.decode import read_pixels

DOMAINS = ("RenderedMall", "RenderedStation", "RenderedStreet")
# Its identities are the "real" ones of the replication, which a base model must not have seen.
HELD_OUT = "RenderedCampus"
_TRAINING_IMAGES = "bounding_box_train/"


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedPersons:
    """Images (N, 3, H, W) uint8 RGB in [0, 255] and their N captions."""

    images: Tensor
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)


def find_captions(
    roots: Sequence[Path], domains: Sequence[str] = DOMAINS
) -> list[tuple[Path, str]]:
    """List the training images of rendered data sets with their captions.

    Args:
        roots: folders that hold the data sets, as ``tools/render_persons.py --root`` wrote them; a
            data set may be in several.
        domains: names of data sets; not ``RenderedCampus``.

    Returns:
        Files and captions, in the order of ``roots``, ``domains`` and the annotations.

    Raises:
        ValueError: a held-out domain, or a damaged line of annotations.
        FileNotFoundError: a domain is in none of the roots.
    """
    if HELD_OUT in domains:
        raise ValueError(
            f"expected domains other than {HELD_OUT}, whose identities are the real ones of the "
            f"replication, got {list(domains)}; a base model that knew them would prove nothing"
        )
    found = []
    for domain in domains:
        files = [root / domain / "annotations.jsonl" for root in roots]
        files = [file for file in files if file.is_file()]
        if not files:
            raise FileNotFoundError(
                f"no {domain}/annotations.jsonl below {[str(root) for root in roots]}; render it "
                f"with tools/render_persons.py --domain {domain} --root <folder>"
            )
        for file in files:
            found += list(_captions_of(file))
    return found


def load_persons(captions: Sequence[tuple[Path, str]], height: int, width: int) -> CaptionedPersons:
    """Read images and shrink or enlarge them to ``height`` x ``width`` pixels."""
    images = np.empty((len(captions), height, width, 3), np.uint8)
    for place, (file, _) in zip(images, captions, strict=True):
        pixels = read_pixels(file)
        shrinks = height <= pixels.shape[0]
        place[:] = cv2.resize(
            pixels,
            (width, height),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
        )
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return CaptionedPersons(images=tensor, captions=tuple(text for _, text in captions))


def random_mirror(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror half of (B, 3, H, W) uint8 images; return floats in [-1, 1]."""
    scaled = images.float() / 127.5 - 1
    is_mirrored = torch.from_numpy(rng.random(len(images)) < 0.5)
    return torch.where(is_mirrored[:, None, None, None], scaled.flip(3), scaled)


def _captions_of(file: Path) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(file.read_text().splitlines(), 1):
        row = _row(file, number, line)
        if row["file"].startswith(_TRAINING_IMAGES):
            yield file.parent / row["file"], row["caption"]


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{file}:{number}: expected JSON, got {line[:40]!r} ({error}); was the writer "
            "interrupted? Run tools/render_persons.py again"
        ) from None
    if not isinstance(row, dict) or not {"file", "caption"} <= row.keys():
        raise ValueError(
            f"{file}:{number}: expected an object with 'file' and 'caption', got {line[:40]!r}; "
            "render the set with this version"
        )
    return row
