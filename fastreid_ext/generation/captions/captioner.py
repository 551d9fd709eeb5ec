"""Ask an image-text model of transformers about real images.

The paper found BLIP-2 [0] on OPT or T5 best. BLIP [1], its variant for questions, and chat models
(LLaVA, Qwen-VL and others with a chat template) work by their id too.

[0] Li et al., "BLIP-2", ICML 2023, https://arxiv.org/abs/2301.12597
[1] Li et al., "BLIP", ICML 2022, https://arxiv.org/abs/2201.12086
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoModelForVisualQuestionAnswering,
    AutoProcessor,
)

from fastreid_ext.diffusion.model_folder import find_model_folder
from fastreid_ext.diffusion.part_checks import expect_text_tensors, expect_vocabulary
from fastreid_ext.diffusion.quiet_loading import quiet_loading

_KEY = "GENERATION.CAPTIONS.CAPTIONER"
# Classes that a configuration names and that its model type alone does not imply.
_FOR_QUESTIONS = ("BlipForQuestionAnswering",)
_LOCAL = {"local_files_only": True, "trust_remote_code": False}


class Captioner:
    """Frozen image-text model.

    Args:
        folder: folder of the model by :func:`.diffusion.model_folder.find_model_folder`.
        name: name for the record, "<id>@<revision>".
        device: device on which the model computes.
        dtype: dtype in which the model computes.
        max_tokens: largest number of tokens of an answer.
        beams: number of beams of the search; 1 for a greedy search. Nothing is sampled.
        batch_size: number of images processed at once.

    Raises:
        ValueError: the folder holds no image-text model, or one that needs its own code.
        FileNotFoundError: the processor's files are missing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        device: str | torch.device,
        dtype: torch.dtype,
        max_tokens: int,
        beams: int,
        batch_size: int,
    ) -> None:
        self.name = name
        self._model, self._processor = _load(folder, dtype)
        self._model.to(device).eval().requires_grad_(False)
        self._search = {"max_new_tokens": max_tokens, "num_beams": beams, "do_sample": False}
        self._batch_size = batch_size

    @classmethod
    def from_config(cls, cfg: CfgNode, device: str | torch.device | None = None) -> "Captioner":
        """Load GENERATION.CAPTIONS.CAPTIONER onto ``device``, by default MODEL.DEVICE.

        Raises:
            FileNotFoundError: the model is neither here nor in the hub's cache.
            ValueError: pickles instead of safetensors, or no image-text model.
        """
        captions = cfg.GENERATION.CAPTIONS
        folder = find_model_folder(
            captions.CAPTIONER,
            key=_KEY,
            revision=captions.REVISION,
            download=cfg.GENERATION.DOWNLOAD,
        )
        is_hub = folder.parent.name == "snapshots"
        return cls(
            folder,
            name=f"{captions.CAPTIONER}@{folder.name[:12]}" if is_hub else folder.resolve().name,
            device=cfg.MODEL.DEVICE if device is None else device,
            dtype=getattr(torch, cfg.GENERATION.DTYPE),
            max_tokens=captions.MAX_TOKENS,
            beams=captions.BEAMS,
            batch_size=captions.BATCH_SIZE,
        )

    def answers(
        self, images: Sequence[NDArray[np.uint8]], questions: Sequence[str]
    ) -> list[list[str]]:
        """Answer questions about images.

        Args:
            images: images (H, W, 3) uint8 RGB of any sizes.
            questions: questions, passed unchanged; "" for an unprompted caption.

        Returns:
            For each image the answer to each question, without the question.
        """
        pictures = [Image.fromarray(image) for image in images]
        columns = [self._answers_to(question, pictures) for question in questions]
        return [list(own) for own in zip(*columns, strict=True)]

    def _answers_to(self, question: str, images: Sequence[Image.Image]) -> list[str]:
        answers: list[str] = []
        for start in range(0, len(images), self._batch_size):
            answers += self._answer_batch(question, list(images[start : start + self._batch_size]))
        return answers

    @torch.inference_mode()
    def _answer_batch(self, question: str, images: list[Image.Image]) -> list[str]:
        texts = self._texts(question, len(images))
        inputs = self._processor(images=images, return_tensors="pt", **texts)
        inputs = inputs.to(self._model.device, self._model.dtype)
        tokens = self._model.generate(**inputs, **self._search)
        outputs = self._processor.batch_decode(tokens, skip_special_tokens=True)
        # OPT, BLIP and chat models repeat the question before the answer; T5 does not.
        prompts = inputs.get("input_ids")
        echoes = [""] * len(images)
        if prompts is not None:
            echoes = self._processor.batch_decode(prompts, skip_special_tokens=True)
        return [
            _printable(answer.strip().removeprefix(echo.strip()))
            for answer, echo in zip(outputs, echoes, strict=True)
        ]

    def _texts(self, question: str, count: int) -> dict[str, object]:
        """Build the arguments of the processor for ``count`` equal questions."""
        is_chat = getattr(self._processor, "chat_template", None)
        if not question and not is_chat and type(self._model).__name__ in _FOR_QUESTIONS:
            raise ValueError(
                f"expected questions for {self.name}, which answers questions alone, got ''; take "
                '"" out of GENERATION.CAPTIONS.QUESTIONS, or name a captioner'
            )
        return _texts(self._processor, question, count)


def _printable(text: str) -> str:
    """Keep the first line without unprintable characters (broken bytes of random models)."""
    line = (text.strip().splitlines() or [""])[0]
    return "".join(c for c in line if c.isprintable() and c != "\N{REPLACEMENT CHARACTER}").strip()


def expect_captioner(folder: Path) -> None:
    """Check that a folder holds a complete image-text model whose language model sees the image.

    No weights are read.

    Raises:
        FileNotFoundError: the processor is missing.
        ValueError: no image-text model, one with missing tensors or without a vocabulary, or one
            whose image tokens do not reach the language model.
    """
    with quiet_loading():
        model = expect_text_tensors(_kind_of(folder), folder, _KEY, trust_remote_code=False)
        processor = _processor_of(folder)
    expect_vocabulary(processor.tokenizer, folder)
    _expect_image_tokens(folder, model, processor)


def _texts(processor: Any, question: str, count: int) -> dict[str, object]:
    if getattr(processor, "chat_template", None):
        ask = question or "Describe the person in this image in one short sentence."
        content = [{"type": "image"}, {"type": "text", "text": ask}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return {"text": [text] * count, "padding": True}
    # BLIP-2 puts its image tokens before the text, which may be empty but must be there for T5.
    if question or hasattr(processor, "num_query_tokens"):
        return {"text": [question] * count, "padding": True}
    return {}


def _load(folder: Path, dtype: torch.dtype) -> tuple[torch.nn.Module, Any]:
    expect_captioner(folder)
    with quiet_loading():
        model = _kind_of(folder).from_pretrained(
            folder, use_safetensors=True, dtype=dtype, **_LOCAL
        )
        return model, _processor_of(folder)


def _kind_of(folder: Path) -> type:
    """Select the class of transformers that opens the model in a folder."""
    try:
        config = AutoConfig.from_pretrained(folder, **_LOCAL)
    except (ValueError, KeyError) as error:
        raise ValueError(_no_captioner(folder, str(error).splitlines()[0])) from error
    kind = AutoModelForImageTextToText
    if (config.architectures or [""])[0] in _FOR_QUESTIONS:
        kind = AutoModelForVisualQuestionAnswering
    if type(config) not in kind._model_mapping:
        raise ValueError(_no_captioner(folder, f"a {config.model_type}"))
    return kind


def _processor_of(folder: Path) -> Any:
    try:
        return AutoProcessor.from_pretrained(folder, **_LOCAL)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"expected a processor (of images and text) beside the model in {folder} ({_KEY}), "
            f"got: {error}; save it there too: processor.save_pretrained"
        ) from error


def _expect_image_tokens(folder: Path, model: torch.nn.Module, processor: Any) -> None:
    """Check that a question has the tokens which the model replaces by the image.

    Copies of BLIP-2 from before transformers 4.46 have none: the model then answers fluently
    without the image.
    """
    token = getattr(model.config, "image_token_id", None)
    wanted = getattr(model.config, "num_query_tokens", None)
    if token is None and wanted is None:
        return  # the image enters by cross-attention, as in BLIP
    image = Image.new("RGB", (64, 64))
    inputs = processor(images=[image], return_tensors="pt", **_texts(processor, "what", 1))
    tokens = inputs["input_ids"][0]
    found = 0 if token is None else int((tokens == token).sum())
    if not found or (wanted is not None and found != wanted):
        raise ValueError(
            f"expected {wanted or 'at least one'} image token(s) in each question to {folder} "
            f"({_KEY}), got {found}: its language model would never see the image. Its config.json "
            "has image_token_index "
            f"{token} and its processor_config.json num_query_tokens "
            f"{getattr(processor, 'num_query_tokens', None)}; bring the newer files of the model, "
            "which have both"
        )
    rows = model.get_input_embeddings().num_embeddings
    if int(tokens.max()) >= rows:
        raise ValueError(
            f"expected tokens below {rows}, the embeddings of the language model in {folder} "
            f"({_KEY}), got {int(tokens.max())}; its tokenizer is of another model, bring the "
            "newer files"
        )


def _no_captioner(folder: Path, got: str) -> str:
    return (
        f"expected an image-text model of transformers in {folder} ({_KEY}), got {got}; name "
        "BLIP-2, BLIP or another model of AutoModelForImageTextToText without code in its folder"
    )
