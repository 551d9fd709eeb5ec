"""Features of CLIP's text encoder, which tell which texts have nearly the same meaning.

Letters: N texts, D feature dimension.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from numpy.typing import NDArray
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from fastreid_ext.diffusion.model_folder import find_model_folder
from fastreid_ext.diffusion.part_checks import expect_clip_vocabulary, expect_text_tensors
from fastreid_ext.diffusion.quiet_loading import quiet_loading

_KEY = "GENERATION.CAPTIONS.TEXT_MODEL"


class TextFeatures:
    """CLIP text encoder in float32, called with texts.

    Args:
        folder: folder of a CLIP model by :func:`.diffusion.model_folder.find_model_folder`.
        device: device on which the model computes.
        batch_size: number of texts encoded at once.

    Raises:
        ValueError: the folder holds no CLIP text model.
    """

    def __init__(self, folder: Path, *, device: str | torch.device, batch_size: int = 256) -> None:
        expect_text_model(folder)
        with quiet_loading():
            self.tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = CLIPTextModelWithProjection.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, dtype=torch.float32
            )
        self._model.to(device).eval().requires_grad_(False)
        self._batch_size = batch_size

    @classmethod
    def from_config(cls, cfg: CfgNode, device: str | torch.device | None = None) -> "TextFeatures":
        """Load GENERATION.CAPTIONS.TEXT_MODEL onto ``device``, by default MODEL.DEVICE."""
        folder = find_model_folder(
            cfg.GENERATION.CAPTIONS.TEXT_MODEL,
            key=_KEY,
            download=cfg.GENERATION.DOWNLOAD,
        )
        return cls(folder, device=cfg.MODEL.DEVICE if device is None else device)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode N texts to (N, D) features of norm 1; equal texts are encoded once.

        A text that is too long for the encoder is cut at the end.
        """
        unique = list(dict.fromkeys(texts))
        parts = [
            self._encoded(unique[start : start + self._batch_size])
            for start in range(0, len(unique), self._batch_size)
        ]
        if not parts:
            return np.zeros((0, self._model.config.projection_dim), np.float32)
        rows = {text: row for row, text in enumerate(unique)}
        return np.concatenate(parts)[[rows[text] for text in texts]]

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # Padded to the full length, so that a feature does not depend on the other texts.
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt"
        )
        features = self._model(**tokens.to(self._model.device)).text_embeds
        return torch.nn.functional.normalize(features, dim=1).cpu().numpy()


def expect_text_model(folder: Path) -> None:
    """Check that a folder holds CLIP's text encoder, its projection and its vocabulary.

    Raises:
        FileNotFoundError: the vocabulary is missing.
        ValueError: a tensor is missing.
    """
    model = expect_text_tensors(CLIPTextModelWithProjection, folder, _KEY)
    expect_clip_vocabulary(folder, model.get_input_embeddings().num_embeddings)
