"""Check the parts of a Stable Diffusion folder against each other without reading tensors.

A part that loads with missing tensors is either filled with random numbers (transformers) or left
without data (diffusers). Both are detected from configurations and headers of weight files.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ModelMixin, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from fastreid_ext.diffusion.quiet_loading import quiet_loading
from fastreid_ext.diffusion.weight_files import read_object

# Names of an autoencoder's attention in diffusers before 0.12, as in the files of SD v1.4.
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(r"(?<=\.)(query|key|value|proj_attn)(?=\.(?:weight|bias)$)")
# Keys of a U-Net's configuration that require an input which this project does not provide.
_EXTRA_INPUTS = {
    "time_cond_proj_dim": "takes its guidance as an input (a distilled model); use the model it "
    "was distilled from, with SAMPLING.FEW_STEP_ADAPTER",
    "class_embed_type": "takes a class as an input; use a model that takes text alone",
    "num_class_embeds": "takes a class as an input; use a model that takes text alone",
    "addition_embed_type": "takes further embeddings as an input (SDXL); use SD v1 or v2",
    "encoder_hid_dim_type": "takes images as an input; use a model that takes text alone",
}
_SHOWN = 3  # number of tensor names in a message


def expect_text_to_image(folder: Path, vae: Path | None = None) -> None:
    """Check that U-Net, VAE and text encoder form a plain text-to-image model.

    Args:
        folder: folder of a pipeline in diffusers layout.
        vae: folder of a VAE that replaces the pipeline's; None for the pipeline's own.

    Raises:
        ValueError: an inpainting, distilled, class-conditioned or otherwise unfit U-Net.
    """
    file = folder / "unet" / "config.json"
    unet = _configuration(UNet2DConditionModel, file)
    latents = _configuration(AutoencoderKL, (vae or folder / "vae") / "config.json")
    text = CLIPTextModel.config_class.from_pretrained(folder / "text_encoder")
    expect_no_extra_input(unet, str(file))
    width = latents["latent_channels"]
    channels = (unet["in_channels"], unet["out_channels"])
    if channels != (width, width):
        kind = "an inpainting model; " if channels == (2 * width + 1, width) else ""
        raise ValueError(
            f"expected a U-Net from {width} to {width} channels, those of the VAE, in {file}, got "
            f"{channels[0]} to {channels[1]}; {kind}choose a text-to-image model as "
            "GENERATION.BASE_MODEL"
        )
    if unet["cross_attention_dim"] != text.hidden_size:
        raise ValueError(
            f"expected cross_attention_dim {text.hidden_size}, the width of the text encoder, in "
            f"{file}, got {unet['cross_attention_dim']}; the parts are of different models"
        )


def expect_no_extra_input(unet: Mapping[str, Any], name: str) -> None:
    """Check that a U-Net needs no input but latents, time and text.

    Args:
        unet: configuration of the U-Net, with its defaults.
        name: name of the model, for messages.

    Raises:
        ValueError: the U-Net needs another input.
    """
    for key, why in _EXTRA_INPUTS.items():
        if unet.get(key) is not None:
            raise ValueError(f"the U-Net of {name} ({key} {unet[key]}) {why}")


def expect_tensors(kind: type[ModelMixin], inside: Path, files: Iterable[Path]) -> None:
    """Check that weight files hold every tensor of a diffusers model in its shape.

    Args:
        kind: class of the model in diffusers.
        inside: folder with the model's ``config.json``.
        files: weights of the model as safetensors.

    Raises:
        ValueError: a tensor is missing or has another shape.
    """
    with torch.device("meta"):  # layers without weights
        model = kind.from_config(read_object(inside / "config.json"))
    found: dict[str, list[int]] = {}
    names = []
    for path in files:
        names.append(path.name)
        with safe_open(path, framework="pt") as file:
            for key in file.keys():
                renamed = _OLD_NAME.sub(lambda match: _OLD_NAMES[match[1]], key)
                found[renamed] = list(file.get_slice(key).get_shape())
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(missing_tensors(inside, names, kind.__name__, missing))
    for key, shape in expected.items():
        if found[key] != shape:
            raise ValueError(
                f"expected {key} of shape {shape} in {inside}/{', '.join(names)} as its "
                f"config.json says, got {found[key]}; the two files are of different models"
            )


def expect_text_tensors(kind: type[PreTrainedModel], folder: Path, key: str, **options: Any) -> Any:
    """Check that transformers finds every tensor of a model in its files.

    Args:
        kind: class of the model, or an ``AutoModel`` class.
        folder: folder with ``config.json`` and safetensors of the model.
        key: configuration key that names the model, for messages.
        **options: further arguments passed to ``from_pretrained``.

    Returns:
        The model without data, on the device "meta".

    Raises:
        ValueError: a tensor is missing; transformers would fill it with random numbers.
    """
    with quiet_loading():
        model, info = kind.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            device_map="meta",
            output_loading_info=True,
            **options,
        )
    if missing := sorted(info["missing_keys"]):
        names = sorted(path.name for path in folder.glob("*.safetensors"))
        raise ValueError(missing_tensors(folder, names, type(model).__name__, missing, key))
    return model


def missing_tensors(
    folder: Path, files: Sequence[str], kind: str, missing: Sequence[str], key: str = ""
) -> str:
    """Describe weight files that lack some tensors of their model."""
    where = f"{folder}/{', '.join(files)}" + (f" ({key})" if key else "")
    more = ", ..." if len(missing) > _SHOWN else ""
    return (
        f"expected all tensors of {kind} in {where}, got a file without {len(missing)} of them, "
        f"e.g. {', '.join(missing[:_SHOWN])}{more}; is it of another model, or saved under another "
        "prefix? Bring the model again"
    )


def expect_clip_vocabulary(folder: Path, rows: int) -> None:
    """Check that a CLIP tokenizer has its vocabulary and that a text encoder has its tokens.

    Args:
        folder: folder with the tokenizer's files.
        rows: number of embeddings in the text encoder.

    Raises:
        FileNotFoundError: a vocabulary file is missing; transformers would create an empty one.
        ValueError: more tokens than embeddings.
    """
    if not (folder / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"expected the vocabulary of a CLIP tokenizer in {folder} (tokenizer.json, or "
                    f"vocab.json and merges.txt), got no {name}; bring the tokenizer again"
                )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises plain Exception for damaged JSON
        raise ValueError(
            f"the tokenizer in {folder} cannot be read ({type(error).__name__}: {error}); its "
            "files are damaged or missing, bring them again"
        ) from error
    expect_vocabulary(tokenizer, folder)
    if len(tokenizer) > rows:
        raise ValueError(
            f"expected a tokenizer in {folder} of at most {rows} tokens, the embeddings of its "
            f"text encoder, got {len(tokenizer)}; the two are of different models"
        )


def expect_vocabulary(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Check that a tokenizer knows more than its special tokens.

    Raises:
        ValueError: the vocabulary is empty.
    """
    vocabulary = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    if not vocabulary:
        raise ValueError(
            f"expected a tokenizer with a vocabulary in {folder}, got one that knows only "
            f"{', '.join(tokenizer.all_special_tokens)}; bring its vocabulary file again "
            "(tokenizer.json, or vocab.json and merges.txt)"
        )


def _configuration(kind: type[ModelMixin], file: Path) -> dict[str, Any]:
    """Read a configuration and add the defaults of the model's class."""
    with torch.device("meta"):
        return dict(kind.from_config(read_object(file)).config)
