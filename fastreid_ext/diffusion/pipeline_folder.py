"""Folders of Stable Diffusion pipelines, named by a path or by a hub id.

Only safetensors are read: unpickling a file runs the code in it.
"""

import functools
import hashlib
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from fastreid_ext.diffusion.part_checks import (
    expect_clip_vocabulary,
    expect_tensors,
    expect_text_tensors,
    expect_text_to_image,
)
from fastreid_ext.diffusion.weight_files import (
    PICKLES,
    expect_no_pickles,
    expect_whole,
    read_object,
)
from fastreid_ext.hub import hub_folder

PARTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")
WITH_WEIGHTS = ("text_encoder", "unet", "vae")
# The hub's folder of SD v1.4 also holds Flax weights, halves and a safety checker.
_WANTED = ["model_index.json", *(f"{part}/*" for part in PARTS)]
_UNWANTED = [*PICKLES, "*.msgpack", "*.h5", "*.onnx", "*.non_ema.*"]
KEY = "GENERATION.BASE_MODEL"
# Weights in half precision, alone or with those in full precision.
VARIANT = "fp16"


def find_base_folder(
    source: str, *, revision: str = "", download: bool = False, key: str = KEY
) -> Path:
    """Find the local folder of a pipeline in diffusers layout and check that it is complete.

    Args:
        source: folder, or hub id such as "CompVis/stable-diffusion-v1-4".
        revision: branch, tag or commit of a hub id; "" means main.
        download: whether the network may be used; otherwise only the hub's cache is searched.
        key: configuration key that holds ``source``, for messages.

    Raises:
        FileNotFoundError: no such folder, or no such model in the cache.
        ValueError: not a Stable Diffusion v1 or v2 pipeline, without safetensors, or cut short.
    """
    folder = Path(source).expanduser()
    if folder.is_file():
        raise ValueError(
            f"expected {key} to be a folder in diffusers layout, got the file "
            f"{source}; convert it once: StableDiffusionPipeline.from_single_file('{source}')"
            ".save_pretrained('<folder>'), in a process that you trust it with"
        )
    if not folder.is_dir():
        fetch = functools.partial(
            hub_folder,
            source,
            key=key,
            wanted=_WANTED,
            revision=revision,
            download=download,
            download_key=f"{key.removesuffix('BASE_MODEL')}DOWNLOAD",
        )
        folder = fetch(unwanted=[*_UNWANTED, f"*.{VARIANT}*"])
        if any(not list((folder / part).glob("*.safetensors")) for part in WITH_WEIGHTS):
            folder = fetch(unwanted=_UNWANTED)  # some are offered in half precision alone
    _expect_pipeline(folder, key)
    return folder


def variant_of(inside: Path) -> str | None:
    """Return the variant of a part's weights: "fp16" if there are no others, otherwise None."""
    stems = [path.stem for path in inside.glob("*.safetensors")]
    return VARIANT if stems and all(f".{VARIANT}" in stem for stem in stems) else None


def expect_base_parts(folder: Path, vae: Path | None = None, *, key: str = KEY) -> None:
    """Check that the parts of a pipeline are complete, fit each other and need text alone.

    Only configurations, vocabularies and the heads of weight files are read.

    Args:
        folder: folder of the pipeline, checked by :func:`find_base_folder`.
        vae: folder of a VAE that replaces the pipeline's; None for the pipeline's own.
        key: configuration key that names the pipeline, for messages.

    Raises:
        FileNotFoundError: a vocabulary is missing.
        ValueError: a tensor is missing, or the U-Net is of an unsupported kind.
    """
    expect_text_to_image(folder, vae)
    for kind, inside in (
        (UNet2DConditionModel, folder / "unet"),
        (AutoencoderKL, vae or folder / "vae"),
    ):
        expect_tensors(kind, inside, weight_files(inside))
    inside = folder / "text_encoder"
    text = expect_text_tensors(CLIPTextModel, inside, key, variant=variant_of(inside))
    expect_clip_vocabulary(folder / "tokenizer", text.get_input_embeddings().num_embeddings)


def weight_files(inside: Path) -> list[Path]:
    """List the safetensors of a part that are read, sorted."""
    is_half = variant_of(inside) is not None
    files = sorted(inside.glob("*.safetensors"))
    return [path for path in files if is_half or "." not in path.stem]


def fingerprint_of(folder: Path) -> str:
    """Hash the weights and configurations of a folder to 12 hexadecimal digits of a SHA-256.

    It takes about a second per 1.5 GB. A snapshot of the hub is named by its commit instead.
    """
    if folder.parent.name == "snapshots":
        return folder.name[:12]
    total = hashlib.sha256()
    files = [path for part in PARTS for path in sorted((folder / part).glob("*"))]
    for path in files:
        if path.suffix in (".safetensors", ".json", ".txt"):
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.parent.name}/{path.name} {digest}\n".encode())
    return total.hexdigest()[:12]


def _expect_pipeline(folder: Path, key: str) -> None:
    """Check that a folder holds all parts of a Stable Diffusion v1 or v2 as safetensors."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(
            f"expected a pipeline in diffusers layout in {folder}, got no model_index.json there; "
            "give the folder that pipeline.save_pretrained wrote"
        )
    named = read_object(index)
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing or "text_encoder_2" in named:
        got = "two text encoders" if "text_encoder_2" in named else f"no {', '.join(missing)}"
        raise ValueError(
            f"expected a Stable Diffusion v1 or v2 pipeline in {folder} (parts "
            f"{', '.join(PARTS)}), got {named.get('_class_name', 'an unnamed class')} with {got}; "
            f"choose another {key}, or bring the folder again if it is cut short"
        )
    for part in WITH_WEIGHTS:
        _expect_safetensors(folder, part)


def _expect_safetensors(folder: Path, part: str) -> None:
    inside = folder / part
    if whole := weight_files(inside):
        expect_whole(whole)
        return
    if files := sorted(inside.glob("*.safetensors")):
        raise ValueError(
            f"expected weights without a variant, or of the variant {VARIANT}, in {inside}, got "
            f"only {files[0].name}; bring the others"
        )
    expect_no_pickles(
        inside,
        str(inside),
        f"StableDiffusionPipeline.from_pretrained('{folder}', use_safetensors=False)"
        ".save_pretrained('<folder>')",
    )
    raise FileNotFoundError(
        f"expected weights as safetensors in {inside}, got none; bring the folder again, or wait "
        "until its download is done"
    )
