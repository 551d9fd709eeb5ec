"""CLIP filter: does an image fit the wanted text better than others (zero-shot classification)?

Letters: N images, T texts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from transformers import AutoProcessor, CLIPModel

from fastreid_ext.diffusion.model_folder import find_model_folder
from fastreid_ext.diffusion.part_checks import expect_clip_vocabulary, expect_text_tensors

_KEY = "GENERATION.FILTER.CLIP.MODEL"


class ClipFilter:
    """CLIP that maps images to the probability of the first of several texts.

    CLIP's own preparation crops the middle square of an image, of a person the trunk. A processor
    that crops is given the whole image, padded to a square with its mean colour.

    Args:
        folder: folder of a CLIP in transformers' layout with safetensors.
        texts: T >= 2 texts, of which the first is the wanted one.
        device: device on which the model computes.
        batch_size: number of images encoded at once.

    Raises:
        FileNotFoundError: the vocabulary is missing.
        ValueError: a text has more tokens than CLIP takes, or a tensor is missing.
    """

    def __init__(
        self,
        folder: Path,
        texts: Sequence[str],
        *,
        device: str = "cpu",
        batch_size: int = 64,
    ) -> None:
        options = {"local_files_only": True, "trust_remote_code": False}
        expect_clip(folder)
        model = CLIPModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, **options
        )
        self._model = model.to(device).eval().requires_grad_(False)
        self._processor = AutoProcessor.from_pretrained(folder, **options)
        self._device = device
        self._batch_size = batch_size
        self._texts = self._encoded(texts)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Compute the (N,) softmax over the texts for N images (H, W, 3) uint8 RGB."""
        parts = [np.empty(0, np.float32)]
        for start in range(0, len(images), self._batch_size):
            batch = [self._prepared(image) for image in images[start : start + self._batch_size]]
            parts.append(self._probabilities(batch).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def _probabilities(self, images: Sequence[Image.Image]) -> Tensor:
        pixels = self._processor.image_processor(images=list(images), return_tensors="pt")
        pixels = pixels["pixel_values"].to(self._device)
        features = _unit(self._model.get_image_features(pixel_values=pixels).pooler_output)
        logits = self._model.logit_scale.float().exp() * features @ self._texts.T
        return logits.softmax(dim=1)[:, 0]

    @torch.no_grad()
    def _encoded(self, texts: Sequence[str]) -> Tensor:
        """Encode the texts to features (T, D) of norm 1."""
        tokens = self._processor.tokenizer(list(texts), padding=True, return_tensors="pt")
        most = self._model.config.text_config.max_position_embeddings
        if tokens.input_ids.shape[1] > most:
            raise ValueError(
                f"expected texts of at most {most} tokens in GENERATION.FILTER.CLIP.TEXTS, got "
                f"{tokens.input_ids.shape[1]}; shorten the longest"
            )
        found = self._model.get_text_features(**tokens.to(self._device))
        return _unit(found.pooler_output)

    def _prepared(self, image: NDArray[np.uint8]) -> Image.Image:
        picture = Image.fromarray(image)
        processor = self._processor.image_processor
        if not processor.do_center_crop:
            return picture
        side = max(picture.size)
        colour = tuple(round(255 * mean) for mean in processor.image_mean)
        return ImageOps.pad(picture, (side, side), color=colour)


def expect_clip(folder: Path) -> None:
    """Check that a folder holds both encoders of CLIP, their projections and the vocabulary.

    Raises:
        FileNotFoundError: the vocabulary is missing.
        ValueError: a tensor is missing.
    """
    model = expect_text_tensors(CLIPModel, folder, _KEY)
    expect_clip_vocabulary(folder, model.text_model.get_input_embeddings().num_embeddings)


def clip_source(cfg: CfgNode) -> tuple[str, Path]:
    """Find the model of ``GENERATION.FILTER.CLIP``; return its fingerprint and folder.

    Raises:
        FileNotFoundError: the model is neither here nor in the hub's cache.
        ValueError: the weights are pickles.
    """
    clip = cfg.GENERATION.FILTER.CLIP
    folder = find_model_folder(clip.MODEL, key=_KEY, download=cfg.GENERATION.DOWNLOAD)
    total = hashlib.sha256(repr(list(clip.TEXTS)).encode())
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12], folder


def open_clip_filter(cfg: CfgNode) -> ClipFilter:
    """Load ``GENERATION.FILTER.CLIP`` in float32, so that scores do not depend on a dtype."""
    filters = cfg.GENERATION.FILTER
    return ClipFilter(
        clip_source(cfg)[1],
        filters.CLIP.TEXTS,
        device=cfg.MODEL.DEVICE,
        batch_size=filters.BATCH_SIZE,
    )


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.float(), dim=1)
