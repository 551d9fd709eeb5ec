"""Files of an identity's fine-tuned weights, which diffusers opens too.

pytorch_lora_weights.safetensors   pipe.load_lora_weights(folder)
learned_embeds.safetensors         pipe.load_textual_inversion(folder), with a trained token
unet/ [text_encoder/]              from_pretrained(folder, subfolder=...), instead of the first
training.json                      settings, losses and seconds
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fastreid_ext.atomic import atomic_write_text

LORA = "pytorch_lora_weights.safetensors"
EMBEDDING = "learned_embeds.safetensors"
TRAINING = "training.json"
UNET = "unet"
TEXT_ENCODER = "text_encoder"
_PREFIX = "unet."
_METADATA = "lora_adapter_metadata"  # where diffusers keeps peft's settings


def write_adapter(
    folder: Path, state: Mapping[str, Tensor], *, rank: int, alpha: float, targets: Sequence[str]
) -> None:
    """Write an adapter with diffusers' own function, with peft's settings inside.

    Args:
        folder: existing folder, which :func:`fastreid_ext.atomic.whole_folder` moves into place.
        state: tensors of the adapter under peft's names.
        rank: rank r of the adapter.
        alpha: scale of the adapter times its rank.
        targets: names of the adapted layers, peft's ``target_modules``.
    """
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets)).to_dict()
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=dict(state), unet_lora_adapter_metadata=_plain(settings)
    )
    _sort_header(Path(folder) / LORA)


def read_adapter(folder: Path) -> tuple[dict[str, Tensor], float | None]:
    """Read the tensors of an adapter and its alpha, None if the file does not state it.

    Files of other trainers with diffusers' older names (``lora.down``, ``lora.up``) are read too.

    Raises:
        FileNotFoundError: the folder has no adapter.
        ValueError: the file is cut short or holds more than a U-Net's adapter.
    """
    path = Path(folder) / LORA
    if not path.is_file():
        raise FileNotFoundError(
            f"expected an adapter at {path}, got none; make it with "
            "tools/generate_persons.py fine-tune"
        )
    try:
        with safe_open(path, framework="pt") as file:
            state = {_peft_name(key, path): file.get_tensor(key) for key in file.keys()}
            metadata = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no whole safetensors file ({error}); remove its folder, and the identity "
            "is trained again"
        ) from error
    alpha = metadata.get(f"{_PREFIX}lora_alpha")
    return state, None if alpha is None else float(alpha)


def write_training(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``training.json``, the last file of a folder."""
    text = json.dumps(facts, indent=1) + "\n"
    atomic_write_text(Path(folder) / TRAINING, text, durable=False)  # the whole folder is synced


def read_training(folder: Path) -> dict[str, Any]:
    """Read ``training.json``: settings, losses and seconds.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / TRAINING
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove its folder, and the identity is trained again"
        ) from error


def is_fine_tuned(folder: Path) -> bool:
    """Check that a folder is complete: its last file and its weights exist.

    Weights of METHOD full are removed once the images are generated.
    """
    has_weights = (Path(folder) / LORA).is_file() or (Path(folder) / UNET).is_dir()
    return has_weights and (Path(folder) / TRAINING).is_file()


def _peft_name(key: str, path: Path) -> str:
    if not key.startswith(_PREFIX):
        raise ValueError(
            f"expected only adapters of the U-Net in {path} (names with '{_PREFIX}'), got '{key}'; "
            "adapters of a text encoder are not read"
        )
    renamed = key.removeprefix(_PREFIX)
    return renamed.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")


def _sort_header(path: Path) -> None:
    """Sort the names in the header of a safetensors file.

    safetensors writes metadata in the order of a hash table, so equal adapters would be different
    files.
    """
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")  # eight bytes with the length, then JSON
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of eight
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Convert settings to plain JSON values: sets to sorted lists, enumerations to their values."""
    return json.loads(
        json.dumps(settings, default=lambda v: sorted(v) if isinstance(v, set) else str(v))
    )
